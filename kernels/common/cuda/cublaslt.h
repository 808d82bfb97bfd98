// cuBLASLt, opened on first use: programs that never multiply on a GPU do not wait for it.
#pragma once

#ifdef TESSERA_SIMT
#include "kernels/simt/cublaslt.h"
#else
#include <cublasLt.h>
#endif

#include "kernels/common/error.h"

namespace tessera {

/// The functions of the library that are called, a handle, and its workspace on one device.
struct CublasLt {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmul) matmul;
  cublasLtHandle_t handle;
  void* workspace;
  size_t workspace_bytes;
};

/// That of `device`; work of its one stream shares the workspace.
const CublasLt& cublaslt(int device);

inline void cublas_check(cublasStatus_t status, const char* what) {
  expect(status == CUBLAS_STATUS_SUCCESS, "matmul: {} failed with cuBLAS status {}", what, static_cast<int>(status));
}

}  // namespace tessera
