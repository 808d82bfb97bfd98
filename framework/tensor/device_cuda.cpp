// Devices and their work streams: one per device, made on first use, never destroyed.
#include <array>
#include <mutex>

#include "framework/tensor/device.h"
#include "kernels/common/cuda/runtime.h"
#include "kernels/matmul/product_cuda.h"

namespace tessera {
namespace {

constexpr int kMaxDevices = 64;

cudaStream_t work_stream(int device) {
  static std::mutex mutex;
  static std::array<cudaStream_t, kMaxDevices> streams{};
  const std::scoped_lock lock(mutex);
  if (streams[device] == nullptr) {
    cuda_check(cudaSetDevice(device), "cudaSetDevice");
    cuda_check(cudaStreamCreateWithFlags(&streams[device], cudaStreamNonBlocking), "cudaStreamCreate");
  }
  return streams[device];
}

}  // namespace

int cuda_device_count() {
  static const int count = [] {
    int found = 0;
    if (cudaGetDeviceCount(&found) != cudaSuccess) {
      cudaGetLastError();  // a machine without a driver: no devices, and no error left behind
      return 0;
    }
    return found < kMaxDevices ? found : kMaxDevices;
  }();
  return count;
}

Exec exec_of(Device device) {
  if (device.is_cpu()) return Cpu{};
  return Cuda{device.index, work_stream(device.index)};
}

void allow_tf32(bool allowed) { set_tf32(allowed); }

}  // namespace tessera
