#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include "kernels/common/error.h"
#include "kernels/simt/capture.h"
#include "kernels/simt/device_memory.h"
#include "kernels/simt/stream.h"

namespace {

using tessera::simt::device_memories;
using tessera::simt::DeviceMemory;
using tessera::simt::pinned_memory;

using tessera::simt::failed;

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

std::atomic<int64_t> waits{0};

// An error that leaves no graph of the capture under way.
cudaError_t spoiled(cudaError_t error) {
  tessera::simt::spoil_capture();
  return failed(error);
}

cudaError_t waited(cudaError_t error) {
  if (tessera::simt::capturing()) return spoiled(cudaErrorStreamCaptureUnsupported);
  ++waits;
  return error == cudaSuccess ? error : failed(error);
}

bool is_device(int device) { return device >= 0 && device < static_cast<int>(device_memories().size()); }

std::function<void(const tessera::simt::EventUse&)> event_observer;

// Copies must name memory that exists: a device address outside a live block is an error.
bool is_valid(const void* address, size_t bytes) {
  const int device = tessera::simt::device_of(address);
  return device < 0 || device_memories()[device]->contains(reinterpret_cast<uintptr_t>(address), bytes);
}

// Whether an address is one of this process's memory that no device reaches. Two small numbers may look like one whose
// lower half is small, and any two like one of a sanitizer's own memory, which lies below the program's.
bool is_only_of_the_host(const void* address) {
  constexpr uintptr_t kPage = 4096, kLowest = uintptr_t{1} << 45, kHighest = uintptr_t{1} << 47;
  const auto at = reinterpret_cast<uintptr_t>(address);
  if (at < kLowest || at >= kHighest || static_cast<uint32_t>(at) < (1u << 24) || pinned_memory().contains(address, 1))
    return false;
  unsigned char resident = 0;
  return mincore(reinterpret_cast<void*>(at / kPage * kPage), 1, &resident) == 0;
}

}  // namespace

struct SimtEvent {
  int device;
  bool recorded = false;
  tessera::simt::Moment moment{};
  int64_t capture = 0;  // not 0: the moment is one of a graph, and the host cannot ask for it
  tessera::simt::Before place{};
};

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorMemoryAllocation) return "out of memory";
  if (error == cudaErrorPeerAccessAlreadyEnabled) return "peer access is already enabled";
  if (error == cudaErrorInvalidResourceHandle) return "invalid resource handle";
  if (error == cudaErrorStreamCaptureInvalidated) return "operation failed due to a previous error during capture";
  if (error == cudaErrorStreamCaptureUnjoined) return "capturing stream has unjoined work";
  if (error == cudaErrorStreamCaptureUnsupported) return "operation not permitted when stream is capturing";
  if (error == cudaErrorStreamCaptureIsolation) return "dependency created on uncaptured work in another stream";
  if (error == cudaErrorCapturedEvent) return "operation not permitted on an event last recorded in a capturing stream";
  return error == cudaSuccess ? "no error" : "invalid value";
}
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(device_memories().size());
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (!is_device(device)) return failed(cudaErrorInvalidValue);
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** memory, size_t bytes) {
  if (tessera::simt::capturing()) return waited(cudaSuccess);
  *memory = device_memories()[current_device]->allocate(bytes);
  return waited(*memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}
cudaError_t cudaMallocManaged(void** memory, size_t bytes) {
  if (tessera::simt::capturing()) return waited(cudaSuccess);
  *memory = device_memories()[current_device]->allocate(bytes, DeviceMemory::Reach::both);
  return waited(*memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}
cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  const int device = tessera::simt::device_of(memory);
  if (tessera::simt::capturing()) return waited(cudaSuccess);
  tessera::simt::finish_all_streams();
  return waited(device >= 0 && device_memories()[device]->release(memory) ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = device_memories()[current_device]->total();
  *free = *total - std::min(*total, device_memories()[current_device]->used());
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  *memory = std::malloc(bytes);
  if (*memory != nullptr) pinned_memory().add(*memory, bytes);
  return waited(*memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}
cudaError_t cudaFreeHost(void* memory) {
  tessera::simt::finish_all_streams();
  pinned_memory().remove(memory);
  std::free(memory);
  return waited(cudaSuccess);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const bool to_device = tessera::simt::device_of(to) >= 0, from_device = tessera::simt::device_of(from) >= 0;
  const bool as_said = kind == cudaMemcpyDefault ||
                       (to_device == (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) &&
                        from_device == (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice));
  if (!as_said || !is_valid(to, bytes) || !is_valid(from, bytes)) return failed(cudaErrorInvalidValue);
  const bool pageable =
      (!to_device && !pinned_memory().contains(to, bytes)) || (!from_device && !pinned_memory().contains(from, bytes));
  if (pageable && tessera::simt::capturing()) return waited(cudaSuccess);
  // Pageable memory is read at once, into memory of the driver's, and written before the call returns.
  if (pageable && to_device) {
    const auto* begin = static_cast<const std::byte*>(from);
    tessera::simt::enqueue(stream, [to, staged = std::vector<std::byte>(begin, begin + bytes)] {
      std::copy(staged.begin(), staged.end(), static_cast<std::byte*>(to));
    });
  } else {
    tessera::simt::enqueue(stream, [=] { std::memmove(to, from, bytes); });
    if (pageable) tessera::simt::finish(tessera::simt::moment_of(stream));
  }
  return pageable ? waited(cudaSuccess) : cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                                cudaStream_t stream) {
  if (tessera::simt::device_of(to) != to_device || tessera::simt::device_of(from) != from_device)
    return failed(cudaErrorInvalidValue);
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  if (tessera::simt::device_of(memory) < 0 || !is_valid(memory, bytes)) return failed(cudaErrorInvalidValue);
  tessera::simt::enqueue(stream, [=] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = tessera::simt::make_stream(current_device);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (!tessera::simt::capturing()) tessera::simt::finish(tessera::simt::moment_of(stream));
  return waited(cudaSuccess);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event_observer) event_observer({.recorded = false, .stream = stream, .event = event});
  if (!event->recorded) return failed(cudaErrorInvalidValue);
  if (event->capture != 0) {
    if (event->capture != tessera::simt::capture_under_way()) return failed(cudaErrorStreamCaptureIsolation);
    tessera::simt::put_behind(stream, event->place);
    return cudaSuccess;
  }
  if (tessera::simt::takes_part(stream)) return spoiled(cudaErrorStreamCaptureIsolation);
  tessera::simt::enqueue(stream, [moment = event->moment] { tessera::simt::finish(moment); });
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new SimtEvent{.device = current_device};
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (event_observer) event_observer({.recorded = true, .stream = stream, .event = event});
  if (stream != nullptr && stream->device != event->device) return failed(cudaErrorInvalidResourceHandle);
  *event = {.device = event->device, .recorded = true, .moment = tessera::simt::moment_of(stream)};
  if (tessera::simt::takes_part(stream)) {
    event->capture = tessera::simt::capture_under_way();
    event->place = tessera::simt::place_of(stream);
  }
  return cudaSuccess;
}
static cudaError_t asked_of_a_capture(cudaEvent_t event) {
  const bool is_under_way = event->capture == tessera::simt::capture_under_way();
  return is_under_way ? spoiled(cudaErrorCapturedEvent) : failed(cudaErrorCapturedEvent);
}
// Time passes between two questions, or the host could ask for ever.
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event->capture != 0) return asked_of_a_capture(event);
  if (tessera::simt::capturing()) return spoiled(cudaErrorStreamCaptureUnsupported);
  if (tessera::simt::is_past(event->moment)) return cudaSuccess;
  tessera::simt::finish(event->moment);
  return cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->capture != 0) return asked_of_a_capture(event);
  if (!tessera::simt::capturing()) tessera::simt::finish(event->moment);
  return waited(event->recorded ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

namespace tessera::simt {

cudaError_t failed(cudaError_t error) { return last_error = error; }

size_t memory_in_use(int device) { return device_memories().at(static_cast<size_t>(device))->used(); }

void set_memory_limit(int device, size_t bytes) { device_memories().at(static_cast<size_t>(device))->set_limit(bytes); }

int64_t host_waits() { return waits; }

void observe_events(std::function<void(const EventUse& use)> observer) { event_observer = std::move(observer); }

void check_arguments(const char* kernel, int device, const void* data, size_t bytes) {
  for (size_t at = 0; at + sizeof(void*) <= bytes; at += sizeof(void*)) {
    const void* word = nullptr;
    std::memcpy(&word, static_cast<const char*>(data) + at, sizeof word);
    const int owner = device_of(word);
    expect(owner < 0 || owner == device || !device_memories()[owner]->contains(reinterpret_cast<uintptr_t>(word), 1),
           "{}: a kernel on cuda:{} was handed an address of cuda:{}", kernel, device, owner);
    expect(owner >= 0 || !is_only_of_the_host(word), "{}: a kernel on cuda:{} was handed an address of host memory",
           kernel, device);
  }
}

void check_global(const void* address, size_t bytes, const char* word) {
  const int device = device_of(address);
  expect(device >= 0 && device_memories()[device]->contains(reinterpret_cast<uintptr_t>(address), bytes),
         "{}: {} bytes of global memory lie outside every allocation", word, bytes);
}

}  // namespace tessera::simt
