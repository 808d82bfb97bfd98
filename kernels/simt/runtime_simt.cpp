#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include "kernels/common/error.h"
#include "kernels/simt/capture.h"
#include "kernels/simt/runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace {

// Every device owns a range of addresses that no other memory of the process has.
constexpr uintptr_t kFirstAddress = 0x3A7B00000000;
constexpr uintptr_t kRangeBytes = uintptr_t{1} << 36;
// What lies in the padding of a kernel's arguments may be the upper half of an old address: no small number below it
// makes it the address of a block.
constexpr uintptr_t kFirstOffset = uintptr_t{1} << 30;
constexpr size_t kDefaultMemory = size_t{8} << 30;

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t failed(cudaError_t error) { return last_error = error; }

std::atomic<int64_t> waits{0};

cudaError_t waited(cudaError_t error) {
  if (tessera::simt::capturing()) return failed(cudaErrorStreamCaptureUnsupported);
  ++waits;
  return error == cudaSuccess ? error : failed(error);
}

// Host memory that a device copies from and to by itself.
class PinnedMemory {
 public:
  void add(const void* memory, size_t bytes) {
    const std::scoped_lock lock(mutex_);
    blocks_[reinterpret_cast<uintptr_t>(memory)] = bytes;
  }
  void remove(const void* memory) {
    const std::scoped_lock lock(mutex_);
    blocks_.erase(reinterpret_cast<uintptr_t>(memory));
  }
  bool contains(const void* memory, size_t bytes) {
    const auto at = reinterpret_cast<uintptr_t>(memory);
    const std::scoped_lock lock(mutex_);
    auto next = blocks_.upper_bound(at);
    if (next == blocks_.begin()) return false;
    --next;
    return at + bytes <= next->first + next->second;
  }

 private:
  std::mutex mutex_;
  std::map<uintptr_t, size_t> blocks_;
};
PinnedMemory pinned;

/// Under ASan: of `size` bytes at `at`, the first `bytes` may be touched.
void allow([[maybe_unused]] uintptr_t at, [[maybe_unused]] size_t size, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(at), size);
  ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void*>(at), bytes);
#endif
}

class DeviceMemory {
 public:
  explicit DeviceMemory(int device) : base_(kFirstAddress + kRangeBytes * static_cast<uintptr_t>(device)) {
    const char* limit = std::getenv("TESSERA_SIMT_MEMORY");
    if (limit != nullptr) total_ = static_cast<size_t>(std::atoll(limit));
    void* range = mmap(reinterpret_cast<void*>(base_), kRangeBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    tessera::expect(range == reinterpret_cast<void*>(base_), "simt: the addresses of device {} are taken", device);
  }

  void* allocate(size_t bytes) {
    const size_t size = (std::max<size_t>(bytes, 1) + 255) / 256 * 256;
    const std::scoped_lock lock(mutex_);
    if (used_ + size > total_) return nullptr;
    uintptr_t at = base_ + kFirstOffset;
    for (const auto& [begin, length] : live_) {
      if (at + size + 256 <= begin) break;
      at = begin + length + 256;  // a gap: running off the end of a block is never the start of the next
    }
    if (at + size > base_ + kRangeBytes) return nullptr;
    allow(at, size + 256, bytes);
    live_[at] = size;
    used_ += size;
    std::memset(reinterpret_cast<void*>(at), 0xff, bytes);
    return reinterpret_cast<void*>(at);
  }

  bool release(void* memory) {
    const std::scoped_lock lock(mutex_);
    const auto found = live_.find(reinterpret_cast<uintptr_t>(memory));
    if (found == live_.end()) return false;
    used_ -= found->second;
    allow(found->first, found->second, found->second);
    std::memset(memory, 0xff, found->second);  // NaN, for whoever still reads it
    allow(found->first, found->second, 0);
    live_.erase(found);
    return true;
  }

  bool contains(uintptr_t address, size_t bytes) {
    const std::scoped_lock lock(mutex_);
    auto next = live_.upper_bound(address);
    if (next == live_.begin()) return false;
    --next;
    return address + bytes <= next->first + next->second;
  }

  void set_limit(size_t bytes) { total_ = bytes; }

  size_t used() const { return used_; }
  size_t total() const { return total_; }

 private:
  uintptr_t base_;
  size_t total_ = kDefaultMemory, used_ = 0;
  std::mutex mutex_;
  std::map<uintptr_t, size_t> live_;
};

std::vector<DeviceMemory*>& devices() {
  static std::vector<DeviceMemory*> all = [] {
    const char* text = std::getenv("TESSERA_SIMT_DEVICES");
    const int count = text == nullptr ? 1 : std::atoi(text);
    std::vector<DeviceMemory*> made;
    for (int i = 0; i < count; ++i) made.push_back(new DeviceMemory(i));
    return made;
  }();
  return all;
}

bool is_device(int device) { return device >= 0 && device < static_cast<int>(devices().size()); }

// Copies must name memory that exists: a device address outside a live block is an error.
bool is_valid(const void* address, size_t bytes) {
  const int device = tessera::simt::device_of(address);
  return device < 0 || devices()[device]->contains(reinterpret_cast<uintptr_t>(address), bytes);
}

}  // namespace

struct SimtStream {
  int device;
};
struct SimtEvent {
  bool recorded;
};

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorMemoryAllocation) return "out of memory";
  if (error == cudaErrorStreamCaptureUnsupported) return "operation not permitted when stream is capturing";
  return error == cudaSuccess ? "no error" : "invalid value";
}
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(devices().size());
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
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = 4; break;
    case cudaDevAttrComputeCapabilityMajor: *value = 8; break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = 163 << 10; break;
  }
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"emulated device"};
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }
cudaError_t cudaMalloc(void** memory, size_t bytes) {
  if (tessera::simt::capturing()) return waited(cudaSuccess);
  *memory = devices()[current_device]->allocate(bytes);
  return waited(*memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}
cudaError_t cudaMallocManaged(void** memory, size_t bytes) { return cudaMalloc(memory, bytes); }
cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  const int device = tessera::simt::device_of(memory);
  if (tessera::simt::capturing()) return waited(cudaSuccess);
  return waited(device >= 0 && devices()[device]->release(memory) ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = devices()[current_device]->total();
  *free = *total - std::min(*total, devices()[current_device]->used());
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  *memory = std::malloc(bytes);
  if (*memory != nullptr) pinned.add(*memory, bytes);
  return waited(*memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}
cudaError_t cudaFreeHost(void* memory) {
  pinned.remove(memory);
  std::free(memory);
  return waited(cudaSuccess);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  const bool to_device = tessera::simt::device_of(to) >= 0, from_device = tessera::simt::device_of(from) >= 0;
  const bool as_said = kind == cudaMemcpyDefault ||
                       (to_device == (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) &&
                        from_device == (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice));
  if (!as_said || !is_valid(to, bytes) || !is_valid(from, bytes)) return failed(cudaErrorInvalidValue);
  const bool pageable = (!to_device && !pinned.contains(to, bytes)) || (!from_device && !pinned.contains(from, bytes));
  if (pageable && tessera::simt::capturing()) return waited(cudaSuccess);
  tessera::simt::enqueue([=] { std::memmove(to, from, bytes); });
  return pageable ? waited(cudaSuccess) : cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                                cudaStream_t stream) {
  if (tessera::simt::device_of(to) != to_device || tessera::simt::device_of(from) != from_device)
    return failed(cudaErrorInvalidValue);
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  if (tessera::simt::device_of(memory) < 0 || !is_valid(memory, bytes)) return failed(cudaErrorInvalidValue);
  tessera::simt::enqueue([=] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new SimtStream{current_device};
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return waited(cudaSuccess); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) {
  return event->recorded ? cudaSuccess : failed(cudaErrorInvalidValue);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new SimtEvent{false};
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->recorded = true;
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return waited(event->recorded ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

namespace tessera::simt {

size_t memory_in_use(int device) { return devices().at(static_cast<size_t>(device))->used(); }

void set_memory_limit(int device, size_t bytes) { devices().at(static_cast<size_t>(device))->set_limit(bytes); }

int64_t host_waits() { return waits; }

int device_of(const void* address) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  if (at < kFirstAddress) return -1;
  const uintptr_t device = (at - kFirstAddress) / kRangeBytes;
  return device < devices().size() ? static_cast<int>(device) : -1;
}

void check_arguments(const char* kernel, int device, const void* data, size_t bytes) {
  for (size_t at = 0; at + sizeof(void*) <= bytes; at += sizeof(void*)) {
    const void* word = nullptr;
    std::memcpy(&word, static_cast<const char*>(data) + at, sizeof word);
    const int owner = device_of(word);
    expect(owner < 0 || owner == device || !devices()[owner]->contains(reinterpret_cast<uintptr_t>(word), 1),
           "{}: a kernel on cuda:{} was handed an address of cuda:{}", kernel, device, owner);
  }
}

void check_global(const void* address, size_t bytes, const char* word) {
  const int device = device_of(address);
  expect(device >= 0 && devices()[device]->contains(reinterpret_cast<uintptr_t>(address), bytes),
         "{}: {} bytes of global memory lie outside every allocation", word, bytes);
}

}  // namespace tessera::simt
