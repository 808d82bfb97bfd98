#include <map>
#include <mutex>
#include <utility>

#include "kernels/common/cuda/launch.cuh"

namespace tessera {

void allow_shared_memory(const char* name, const void* kernel, Cuda cuda, size_t bytes) {
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, size_t> allowed;
  const std::scoped_lock lock(mutex);
  size_t& most = allowed[{kernel, cuda.device}];
  if (bytes <= most) return;
  cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), name);
  most = bytes;
}

}  // namespace tessera
