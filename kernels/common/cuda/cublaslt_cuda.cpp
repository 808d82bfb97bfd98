#include <map>
#include <mutex>

#include <dlfcn.h>

#include "kernels/common/cuda/cublaslt.h"
#include "kernels/common/cuda/runtime.h"
#include "kernels/common/cuda/scratch.h"

namespace tessera {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;

#ifdef TESSERA_SIMT
CublasLt functions() {
  return {.create = cublasLtCreate,
          .desc_create = cublasLtMatmulDescCreate,
          .desc_destroy = cublasLtMatmulDescDestroy,
          .desc_set = cublasLtMatmulDescSetAttribute,
          .layout_create = cublasLtMatrixLayoutCreate,
          .layout_destroy = cublasLtMatrixLayoutDestroy,
          .layout_set = cublasLtMatrixLayoutSetAttribute,
          .preference_create = cublasLtMatmulPreferenceCreate,
          .preference_destroy = cublasLtMatmulPreferenceDestroy,
          .preference_set = cublasLtMatmulPreferenceSetAttribute,
          .heuristic = cublasLtMatmulAlgoGetHeuristic,
          .matmul = cublasLtMatmul,
          .handle = nullptr,
          .workspace = nullptr,
          .workspace_bytes = 0};
}
#else
template <class Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  expect(function != nullptr, "matmul: cuBLASLt has no {}; install a newer CUDA Toolkit", name);
}

CublasLt functions() {
  const std::string version = std::to_string(CUDART_VERSION / 1000);
  const std::string name = "libcublasLt.so." + version;
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  expect(library != nullptr, "matmul: {} cannot be opened; install cuBLAS {} (part of the CUDA Toolkit)", name,
         version);
  CublasLt lt{};
  find(library, "cublasLtCreate", lt.create);
  find(library, "cublasLtMatmulDescCreate", lt.desc_create);
  find(library, "cublasLtMatmulDescDestroy", lt.desc_destroy);
  find(library, "cublasLtMatmulDescSetAttribute", lt.desc_set);
  find(library, "cublasLtMatrixLayoutCreate", lt.layout_create);
  find(library, "cublasLtMatrixLayoutDestroy", lt.layout_destroy);
  find(library, "cublasLtMatrixLayoutSetAttribute", lt.layout_set);
  find(library, "cublasLtMatmulPreferenceCreate", lt.preference_create);
  find(library, "cublasLtMatmulPreferenceDestroy", lt.preference_destroy);
  find(library, "cublasLtMatmulPreferenceSetAttribute", lt.preference_set);
  find(library, "cublasLtMatmulAlgoGetHeuristic", lt.heuristic);
  find(library, "cublasLtMatmul", lt.matmul);
  return lt;
}
#endif

}  // namespace

const CublasLt& cublaslt(int device) {
  static std::mutex mutex;
  static std::map<int, CublasLt> opened;
  const std::scoped_lock lock(mutex);
  const auto found = opened.find(device);
  if (found != opened.end()) return found->second;
  static const CublasLt library = functions();
  CublasLt lt = library;
  lt.workspace = take_for_good(device, kWorkspaceBytes);
  lt.workspace_bytes = kWorkspaceBytes;
  cuda_check(cudaSetDevice(device), "cudaSetDevice");
  cublas_check(lt.create(&lt.handle), "cublasLtCreate");
  return opened.emplace(device, lt).first->second;
}

}  // namespace tessera
