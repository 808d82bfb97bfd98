#include "kernels/matmul/product_cuda.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>

#include "kernels/common/cuda/cublaslt.h"
#include "kernels/common/cuda/runtime.h"

namespace tessera {
namespace {

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f64: return CUDA_R_64F;
    case DType::f32: return CUDA_R_32F;
    case DType::f16: return CUDA_R_16F;
    default: return CUDA_R_16BF;
  }
}

std::atomic<bool> tf32_allowed{false};

cublasComputeType_t compute_of(const DeviceProduct& product) {
  if (product.c.dtype == DType::f64) return CUBLAS_COMPUTE_64F;
  return product.a.dtype == DType::f32 && tf32_allowed ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

cublasLtEpilogue_t epilogue_of(const DeviceProduct& product) {
  switch (product.epilogue) {
    case ProductEpilogue::gelu: return product.bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    case ProductEpilogue::gelu_gradient: return CUBLASLT_EPILOGUE_DGELU;
    default: break;
  }
  // What is multiplied is bᵀ·aᵀ, so a is the second factor.
  if (product.row_sum) return CUBLASLT_EPILOGUE_BGRADB;
  return product.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

/// A row-major matrix as cuBLASLt sees it: columns first.
struct Matrix {
  int64_t rows, columns, ld, batch_stride;
  bool turned;  ///< the memory holds the transpose of what the row-major view's transpose would be
};

Matrix matrix_of(const In<3>& x) {
  const bool row_major = x.strides[2] == 1 || x.shape[2] == 1;
  const bool unit_rows = x.strides[1] == 1 || x.shape[1] == 1;
  const int64_t batch_stride = x.shape[0] == 1 ? 0 : x.strides[0];
  if (row_major && (x.shape[1] == 1 || x.strides[1] >= x.shape[2] || !unit_rows)) {
    return {x.shape[2], x.shape[1], x.shape[1] == 1 ? x.shape[2] : x.strides[1], batch_stride, false};
  }
  return {x.shape[1], x.shape[2], x.shape[2] == 1 ? x.shape[1] : x.strides[2], batch_stride, true};
}

/// The objects of one call, destroyed with it.
class Call {
 public:
  Call(const CublasLt& lt, const DeviceProduct& product) : lt_(lt) {
    const bool is_double = product.c.dtype == DType::f64;
    cublas_check(lt.desc_create(&desc_, compute_of(product), is_double ? CUDA_R_64F : CUDA_R_32F),
                 "cublasLtMatmulDescCreate");
    const In<3> c{product.c.data, product.c.dtype, product.c.shape, product.c.strides};
    const std::array<In<3>, 4> views{product.b, product.a, product.beta != 0 ? product.base : c, c};
    for (size_t i = 0; i < 4; ++i) add_layout(i, views[i], product.c.shape[0]);
    set(CUBLASLT_MATMUL_DESC_TRANSA, transposes_[0]);
    set(CUBLASLT_MATMUL_DESC_TRANSB, transposes_[1]);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(product));
    set_vector(product);
    if (product.aux) set_aux(product.aux);
  }
  ~Call() {
    for (cublasLtMatrixLayout_t layout : layouts_) lt_.layout_destroy(layout);
    lt_.desc_destroy(desc_);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// Nothing where cuBLASLt has no algorithm.
  std::optional<cublasLtMatmulAlgo_t> choose(const std::array<uint32_t, 4>& alignments) const {
    cublasLtMatmulPreference_t preference = nullptr;
    cublas_check(lt_.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
    const auto bytes = static_cast<uint64_t>(lt_.workspace_bytes);
    lt_.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes);
    constexpr cublasLtMatmulPreferenceAttributes_t kNames[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    for (size_t i = 0; i < 4; ++i) lt_.preference_set(preference, kNames[i], &alignments[i], sizeof(uint32_t));
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    const cublasStatus_t status = lt_.heuristic(lt_.handle, desc_, layouts_[0], layouts_[1], layouts_[2], layouts_[3],
                                                preference, 1, &result, &found);
    lt_.preference_destroy(preference);
    if (status != CUBLAS_STATUS_SUCCESS || found == 0 || result.state != CUBLAS_STATUS_SUCCESS) return std::nullopt;
    return result.algo;
  }

  void run(const DeviceProduct& product, const cublasLtMatmulAlgo_t& algorithm, cudaStream_t stream) const {
    const double one = 1, beta = product.beta;
    const float one_f32 = 1;
    const bool is_double = product.c.dtype == DType::f64;
    const void* base = product.beta != 0 ? product.base.data : product.c.data;
    cublas_check(lt_.matmul(lt_.handle, desc_, is_double ? static_cast<const void*>(&one) : &one_f32, product.b.data,
                            layouts_[0], product.a.data, layouts_[1],
                            is_double ? static_cast<const void*>(&beta) : &product.beta, base, layouts_[2],
                            product.c.data, layouts_[3], &algorithm, lt_.workspace, lt_.workspace_bytes, stream),
                 "cublasLtMatmul");
  }

 private:
  template <class Value>
  void set(cublasLtMatmulDescAttributes_t name, const Value& value) {
    cublas_check(lt_.desc_set(desc_, name, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }

  /// The one vector of an epilogue: a bias that is added, or a sum that is written.
  void set_vector(const DeviceProduct& product) {
    const void* data = product.bias ? product.bias.data : product.row_sum.data;
    if (data == nullptr) return;
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, data);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
        static_cast<int32_t>(type_of(product.bias ? product.bias.dtype : product.row_sum.dtype)));
  }

  void set_aux(const Out<3>& aux) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, static_cast<const void*>(aux.data));
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, aux.shape[1] == 1 ? aux.shape[2] : aux.strides[1]);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, aux.shape[0] == 1 ? int64_t{0} : aux.strides[0]);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, static_cast<int32_t>(type_of(aux.dtype)));
  }

  void add_layout(size_t i, const In<3>& view, int64_t batch) {
    const Matrix x = matrix_of(view);
    if (i < 2) transposes_[i] = x.turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublas_check(lt_.layout_create(&layouts_[i], type_of(view.dtype), static_cast<uint64_t>(x.rows),
                                   static_cast<uint64_t>(x.columns), x.ld),
                 "cublasLtMatrixLayoutCreate");
    const auto count = static_cast<int32_t>(batch);
    lt_.layout_set(layouts_[i], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count);
    lt_.layout_set(layouts_[i], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &x.batch_stride, sizeof x.batch_stride);
  }

  const CublasLt& lt_;
  cublasLtMatmulDesc_t desc_ = nullptr;
  std::array<cublasLtMatrixLayout_t, 4> layouts_{};
  std::array<int32_t, 2> transposes_{};
};

/// The largest power of two, at most 256, that divides an address.
uint32_t alignment_of(const void* address) {
  const auto at = reinterpret_cast<uintptr_t>(address) | 256;
  return static_cast<uint32_t>(at & (~at + 1));
}

/// All that the choice of an algorithm depends on.
using Key = std::array<int64_t, 33>;

Key key_of(const DeviceProduct& product, int device, const std::array<uint32_t, 4>& alignments) {
  Key key{device, epilogue_of(product), product.beta != 0 ? 1 : 0, compute_of(product)};
  size_t at = 4;
  for (const In<3>& x : {product.a, product.b, product.beta != 0 ? product.base : product.a}) {
    key[at++] = static_cast<int64_t>(x.dtype);
    for (int i = 0; i < 3; ++i) key[at++] = x.shape[i];
    for (int i = 0; i < 3; ++i) key[at++] = x.strides[i];
  }
  key[at++] = static_cast<int64_t>(product.c.dtype);
  key[at++] = product.c.strides[0];
  key[at++] = product.c.strides[1];
  key[at++] =
      alignments[0] | int64_t{alignments[1]} << 16 | int64_t{alignments[2]} << 32 | int64_t{alignments[3]} << 48;
  key[at++] = alignment_of(product.bias ? product.bias.data : product.row_sum.data) |
              int64_t{alignment_of(product.aux.data)} << 16;
  key[at++] = product.aux ? product.aux.strides[1] : 0;
  return key;
}

}  // namespace

bool DeviceProduct::try_run(Cuda cuda) const {
  // Of the operands cuBLASLt is told how they are aligned; what an epilogue reads or writes it may take for granted.
  constexpr uint32_t kEpilogueAlignment = 16;
  for (const void* address : {bias.data, static_cast<const void*>(row_sum.data), static_cast<const void*>(aux.data)})
    if (alignment_of(address) < kEpilogueAlignment) return false;
  static std::mutex mutex;
  static std::map<Key, std::optional<cublasLtMatmulAlgo_t>> chosen;
  cuda_check(cudaSetDevice(cuda.device), "cudaSetDevice");
  const CublasLt& lt = cublaslt(cuda.device);
  const Call call(lt, *this);
  const std::array<uint32_t, 4> alignments{alignment_of(b.data), alignment_of(a.data),
                                           alignment_of(beta != 0 ? base.data : c.data), alignment_of(c.data)};
  const std::scoped_lock lock(mutex);
  const Key key = key_of(*this, cuda.device, alignments);
  auto algorithm = chosen.find(key);
  if (algorithm == chosen.end()) algorithm = chosen.emplace(key, call.choose(alignments)).first;
  if (!algorithm->second) return false;
  call.run(*this, *algorithm->second, static_cast<cudaStream_t>(cuda.stream));
  return true;
}

void DeviceProduct::operator()(Cuda cuda) const {
  expect(try_run(cuda), "matmul: cuBLASLt has no algorithm for a {} product of {} × {} × {}", a.dtype, c.shape[1],
         c.shape[2], a.shape[2]);
}

void set_tf32(bool allowed) { tf32_allowed = allowed; }

}  // namespace tessera
