// How kernels are started: a grid on the stream of a `Cuda`, errors checked.
#pragma once

#include <algorithm>

#include "kernels/common/cuda/runtime.h"
#include "kernels/common/cuda/shared_memory.h"
#include "kernels/common/cuda/words.cuh"
#include "kernels/common/exec.h"
#ifdef TESSERA_SIMT
#include "kernels/simt/launch.h"
#endif

namespace tessera {

/// Blocks along up to three axes, threads per block (a multiple of 32), bytes of dynamic shared memory.
struct Grid {
  int64_t x = 1, y = 1, z = 1;
  int threads = 256;
  size_t shared_bytes = 0;
};

/// The number of pieces of `size` that cover `n`.
inline int64_t pieces_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

/// Enqueues `kernel(args…)`; nothing happens for an empty grid. `name` is for messages.
template <class... Params, class... Args>
void launch_grid(const char* name, void (*kernel)(Params...), Cuda cuda, const Grid& grid, const Args&... args) {
  if (grid.x * grid.y * grid.z == 0) return;
  expect(grid.x < (int64_t{1} << 31) && grid.y < 65536 && grid.z < 65536,
         "{}: a grid of {} × {} × {} blocks is too large", name, grid.x, grid.y, grid.z);
  cuda_check(cudaSetDevice(cuda.device), "cudaSetDevice");
  if (grid.shared_bytes > kSharedForAll) {
    allow_shared_memory(name, reinterpret_cast<const void*>(kernel), cuda, grid.shared_bytes);
  }
#ifdef TESSERA_SIMT
  simt::launch(kernel, name, cuda, {static_cast<int>(grid.x), static_cast<int>(grid.y), static_cast<int>(grid.z)},
               grid.threads, grid.shared_bytes, Params(args)...);
#else
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = static_cast<cudaStream_t>(cuda.stream);
  cuda_check(cudaLaunchKernelEx(&config, kernel, Params(args)...), name);
#endif
}

}  // namespace tessera
