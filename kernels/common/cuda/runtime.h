// The CUDA runtime: the real one, or its stand-in on a machine without a GPU.
#pragma once

#ifdef TESSERA_SIMT
#include "kernels/simt/runtime.h"
#else
#include <cuda_runtime.h>
#endif

#include "kernels/common/error.h"

namespace tessera {

/// Throws an `Error` that names the call unless it succeeded.
inline void cuda_check(cudaError_t error, const char* what) {
  expect(error == cudaSuccess, "cuda: {} failed: {}", what, cudaGetErrorString(error));
}

}  // namespace tessera
