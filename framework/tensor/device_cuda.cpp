// Devices and their work streams: one per device, made on first use, never destroyed.
#include <algorithm>
#include <array>
#include <mutex>
#include <optional>

#include "framework/tensor/device.h"
#include "kernels/common/cuda/device_fit.h"
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

/// The GPUs that the driver shows, or why it shows none.
struct Visible {
  int count = 0;
  std::string why = "no GPU is visible";
};

const Visible& visible() {
  static const Visible result = [] {
    Visible found;
    const cudaError_t error = cudaGetDeviceCount(&found.count);
    if (error != cudaSuccess) {
      cudaGetLastError();  // a machine without a driver: no devices, and no error left behind
      int driver = 0, runtime = 0;
      cudaDriverGetVersion(&driver);
      cudaRuntimeGetVersion(&runtime);
      found.why = driver == 0 ? "this machine has no NVIDIA driver"
                              : misfit_of({.name = "the GPU", .driver_cuda = driver, .runtime_cuda = runtime});
      if (found.why.empty()) found.why = cudaGetErrorString(error);
      found.count = 0;
    }
    found.count = std::min(found.count, kMaxDevices);
    return found;
  }();
  return result;
}

}  // namespace

int cuda_device_count() { return visible().count; }

std::string cuda_trouble(int index) {
  static std::mutex mutex;
  static std::array<std::optional<std::string>, kMaxDevices> known;
  const auto [count, why] = visible();
  if (count == 0) return why;
  if (index < 0 || index >= count)
    return format_message("the visible ones are cuda:0 to cuda:{}; choose one of these, or cpu", {count - 1});
  const std::scoped_lock lock(mutex);
  if (!known[index]) known[index] = misfit_of(device_facts(index));
  return *known[index];
}

Exec exec_of(Device device) {
  if (device.is_cpu()) return Cpu{};
  return Cuda{device.index, work_stream(device.index)};
}

void allow_tf32(bool allowed) { set_tf32(allowed); }

}  // namespace tessera
