// Tensors that move between the host and devices. Copies to the host wait for the stream; copies from pageable host
// memory are staged by the driver before the call returns, so the source may go away; copies between devices are
// enqueued on both streams, and the host waits for nothing.
#include <cstring>
#include <mutex>
#include <set>
#include <utility>

#include "framework/tensor/tensor.h"
#include "kernels/common/cuda/runtime.h"

namespace tessera {
namespace {

cudaStream_t stream_of(Device device) { return static_cast<cudaStream_t>(std::get<Cuda>(exec_of(device)).stream); }

void wait_for(Device device) { cuda_check(cudaStreamSynchronize(stream_of(device)), "cudaStreamSynchronize"); }

// Work of device `later` that is enqueued from now on comes after what `earlier` has been given so far.
void put_behind(Device later, Device earlier) {
  cudaEvent_t event = nullptr;
  cuda_check(cudaSetDevice(earlier.index), "cudaSetDevice");
  cuda_check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  cuda_check(cudaEventRecord(event, stream_of(earlier)), "cudaEventRecord");
  cuda_check(cudaSetDevice(later.index), "cudaSetDevice");
  cuda_check(cudaStreamWaitEvent(stream_of(later), event, 0), "cudaStreamWaitEvent");
  cuda_check(cudaEventDestroy(event), "cudaEventDestroy");
}

// Lets copies between two devices go from one to the other where the hardware can; elsewhere the driver stages them in
// host memory. Asked once for each pair.
void connect(Device device, Device peer) {
  static std::mutex mutex;
  static std::set<std::pair<int, int>> asked;
  const std::scoped_lock lock(mutex);
  if (!asked.insert({device.index, peer.index}).second) return;
  int can = 0;
  cuda_check(cudaDeviceCanAccessPeer(&can, device.index, peer.index), "cudaDeviceCanAccessPeer");
  if (can == 0) return;
  cuda_check(cudaSetDevice(device.index), "cudaSetDevice");
  const bool connected = cudaDeviceEnablePeerAccess(peer.index, 0) == cudaSuccess;
  if (!connected) cudaGetLastError();  // NCCL was first, or there are too many peers: staged, then
}

// The source's memory may be used again by work of its own device: that comes behind the copy.
void copy_between_devices(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  connect(to_device, from_device);
  connect(from_device, to_device);
  put_behind(to_device, from_device);
  cuda_check(cudaMemcpyPeerAsync(to, to_device.index, from, from_device.index, bytes, stream_of(to_device)),
             "cudaMemcpyPeerAsync");
  put_behind(from_device, to_device);
}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  const Device device = to_device.is_cpu() ? from_device : to_device;
  cuda_check(cudaSetDevice(device.index), "cudaSetDevice");
  if (!to_device.is_cpu() && !from_device.is_cpu())
    return copy_between_devices(to, to_device, from, from_device, bytes);
  const auto kind = to_device.is_cpu() ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice;
  cuda_check(cudaMemcpyAsync(to, from, bytes, kind, stream_of(device)), "cudaMemcpyAsync");
  if (to_device.is_cpu()) wait_for(device);
}

}  // namespace

Tensor Tensor::to(Device target) const {
  if (target == device()) return *this;
  const Tensor source = to_contiguous();
  Tensor copy = empty(shape_, dtype_, target);
  if (numel() > 0) copy_bytes(copy.address(), target, source.address(), device(), static_cast<size_t>(nbytes()));
  return copy;
}

void Tensor::copy_to_host(void* destination, DType dtype) const {
  expect(dtype == dtype_, "tensor: {} values were asked for, but it holds {}", dtype, dtype_);
  if (numel() == 0) return;
  const Tensor source = to_contiguous();
  if (device().is_cpu()) std::memcpy(destination, source.address(), static_cast<size_t>(nbytes()));
  else copy_bytes(destination, Device::cpu(), source.address(), device(), static_cast<size_t>(nbytes()));
}

}  // namespace tessera
