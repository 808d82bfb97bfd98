#include "kernels/common/cuda/device_fit.h"

#include "kernels/common/error.h"

namespace tessera {
namespace {

std::string version(int cuda) { return std::to_string(cuda / 1000) + "." + std::to_string(cuda % 1000 / 10); }

}  // namespace

std::string misfit_of(const DeviceFacts& facts) {
  const std::string capability = std::to_string(facts.major) + "." + std::to_string(facts.minor);
  if (facts.driver_cuda / 1000 < facts.runtime_cuda / 1000) {
    return format_message(
        "the NVIDIA driver supports CUDA {}, but this program was built with CUDA {}; install a newer driver, or build "
        "with a CUDA Toolkit that the driver supports",
        {version(facts.driver_cuda), version(facts.runtime_cuda)});
  }
  if (facts.major < 8) {
    return format_message("{} has compute capability {}, but the kernels need 8.0 (Ampere) or newer; use device = cpu",
                          {facts.name, capability});
  }
  if (!facts.trouble.empty()) {
    return format_message("{} cannot be used: {}; see what nvidia-smi says of it, or use device = cpu",
                          {facts.name, facts.trouble});
  }
  if (!facts.has_code) {
    return format_message(
        "this program holds no code for {} (compute capability {}); build it with "
        "-DTESSERA_CUDA_ARCHITECTURES={}{}-real",
        {facts.name, capability, facts.major, facts.minor});
  }
  return {};
}

}  // namespace tessera
