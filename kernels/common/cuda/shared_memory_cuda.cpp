#include <map>
#include <mutex>
#include <utility>

#include "kernels/common/cuda/runtime.h"
#include "kernels/common/cuda/shared_memory.h"

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

bool block_may_share(Cuda cuda, size_t bytes) {
  int most = 0;
  cuda_check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, cuda.device),
             "cudaDeviceGetAttribute");
  return bytes <= static_cast<size_t>(most);
}

}  // namespace tessera
