#include <cstring>

#include "framework/tensor/allocator.h"
#include "framework/tensor/pinned_buffer.h"
#include "kernels/common/cuda/runtime.h"

namespace tessera {
namespace {

cudaStream_t stream_of(Device device) { return static_cast<cudaStream_t>(std::get<Cuda>(exec_of(device)).stream); }

cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

void copy(Device device, void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaEvent_t event) {
  cuda_check(cudaSetDevice(device.index), "cudaSetDevice");
  cuda_check(cudaMemcpyAsync(to, from, bytes, kind, stream_of(device)), "cudaMemcpyAsync");
  cuda_check(cudaEventRecord(event, stream_of(device)), "cudaEventRecord");
}

}  // namespace

PinnedBuffer::PinnedBuffer(Device device, size_t bytes) : device_(device), bytes_(bytes) {
  if (device.is_cpu()) {
    data_ = allocate(device, bytes);
    return;
  }
  cudaEvent_t event = nullptr;
  cuda_check(cudaSetDevice(device.index), "cudaSetDevice");
  cuda_check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  event_ = event;
  cuda_check(cudaMallocHost(&data_, bytes), "cudaMallocHost");
}

PinnedBuffer::~PinnedBuffer() {
  if (device_.is_cpu()) {
    deallocate(device_, data_, bytes_);
    return;
  }
  cudaEventSynchronize(event_of(event_));
  cudaEventDestroy(event_of(event_));
  cudaFreeHost(data_);
}

void PinnedBuffer::send(const Tensor& to) {
  const auto bytes = static_cast<size_t>(to.nbytes());
  if (device_.is_cpu()) std::memcpy(to.address(), data_, bytes);
  else copy(device_, to.address(), data_, bytes, cudaMemcpyHostToDevice, event_of(event_));
}

void PinnedBuffer::receive(const Tensor& from) {
  const auto bytes = static_cast<size_t>(from.nbytes());
  if (device_.is_cpu()) std::memcpy(data_, from.address(), bytes);
  else copy(device_, data_, from.address(), bytes, cudaMemcpyDeviceToHost, event_of(event_));
}

bool PinnedBuffer::done() const { return device_.is_cpu() || cudaEventQuery(event_of(event_)) == cudaSuccess; }

void PinnedBuffer::wait() const {
  if (!device_.is_cpu()) cuda_check(cudaEventSynchronize(event_of(event_)), "cudaEventSynchronize");
}

}  // namespace tessera
