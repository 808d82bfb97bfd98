// Tensors that move between the host and devices. Copies to the host wait for the stream; copies from pageable host
// memory are staged by the driver before the call returns, so the source may go away.
#include <cstring>

#include "framework/tensor/tensor.h"
#include "kernels/common/cuda/runtime.h"

namespace tessera {
namespace {

cudaStream_t stream_of(Device device) { return static_cast<cudaStream_t>(std::get<Cuda>(exec_of(device)).stream); }

void wait_for(Device device) { cuda_check(cudaStreamSynchronize(stream_of(device)), "cudaStreamSynchronize"); }

void copy_bytes(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  const Device device = to_device.is_cpu() ? from_device : to_device;
  cuda_check(cudaSetDevice(device.index), "cudaSetDevice");
  if (!to_device.is_cpu() && !from_device.is_cpu()) {
    wait_for(from_device);
    cuda_check(cudaMemcpyPeerAsync(to, to_device.index, from, from_device.index, bytes, stream_of(to_device)),
               "cudaMemcpyPeerAsync");
    wait_for(to_device);
    return;
  }
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
