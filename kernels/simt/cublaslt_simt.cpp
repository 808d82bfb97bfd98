#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/common/error.h"
#include "kernels/common/half.h"
#include "kernels/matmul/product.h"
#include "kernels/simt/cublaslt.h"
#include "kernels/simt/launch.h"

struct SimtCublasLt {
  int device;
};
struct SimtMatmulDesc {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  int32_t transposes[2] = {CUBLAS_OP_N, CUBLAS_OP_N};
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;  // or where a sum goes
  int32_t bias_type = -1;
  const void* aux = nullptr;
  int64_t aux_ld = 0, aux_batch_stride = 0;
  int32_t aux_type = -1;
};
struct SimtMatrixLayout {
  cudaDataType_t type;
  int64_t rows, columns, ld;
  int32_t batch = 1;
  int64_t batch_stride = 0;
};
struct SimtMatmulPreference {
  uint64_t workspace = 0;
  uint32_t alignments[4] = {256, 256, 256, 256};
};

namespace {

std::atomic<int64_t> searches{0};

using tessera::BFloat16;
using tessera::DType;
using tessera::Half;

int64_t bytes_of(cudaDataType_t type) { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2; }

template <class Value>
cublasStatus_t take(Value& to, const void* from, size_t bytes) {
  if (bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

double element(const void* data, cudaDataType_t type, int64_t i) {
  switch (type) {
    case CUDA_R_64F: return static_cast<const double*>(data)[i];
    case CUDA_R_32F: return static_cast<const float*>(data)[i];
    case CUDA_R_16F: return static_cast<float>(static_cast<const Half*>(data)[i]);
    default: return static_cast<float>(static_cast<const BFloat16*>(data)[i]);
  }
}

void set_element(void* data, cudaDataType_t type, int64_t i, double value) {
  switch (type) {
    case CUDA_R_64F: static_cast<double*>(data)[i] = value; return;
    case CUDA_R_32F: static_cast<float*>(data)[i] = static_cast<float>(value); return;
    case CUDA_R_16F: static_cast<Half*>(data)[i] = Half(static_cast<float>(value)); return;
    default: static_cast<BFloat16*>(data)[i] = BFloat16(static_cast<float>(value));
  }
}

// A column-major matrix of one batch row, as row-major numbers of op(X).
template <class T>
std::vector<T> gather(const void* data, const SimtMatrixLayout& x, int64_t batch, bool transpose) {
  const int64_t rows = transpose ? x.columns : x.rows, columns = transpose ? x.rows : x.columns;
  std::vector<T> values(static_cast<size_t>(rows * columns));
  const auto* base = static_cast<const char*>(data) + batch * x.batch_stride * bytes_of(x.type);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      values[r * columns + c] = static_cast<T>(element(base, x.type, transpose ? r * x.ld + c : c * x.ld + r));
  return values;
}

// Ten bits of mantissa, to nearest.
void round_to_tf32(std::vector<float>& values) {
  for (float& value : values) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    value = std::bit_cast<float>((bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
  }
}
void round_to_tf32(std::vector<double>&) {}

struct Call {
  SimtMatmulDesc desc;
  double alpha, beta;
  const void *a, *b, *c;
  void* d;
  SimtMatrixLayout a_layout, b_layout, c_layout, d_layout;
};

bool has(const SimtMatmulDesc& desc, cublasLtEpilogue_t part) {
  return desc.epilogue != CUBLASLT_EPILOGUE_DEFAULT && (desc.epilogue & part) == part;
}

// The tanh form, and its slope.
double gelu(double x) { return 0.5 * x * (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))); }
double gelu_slope(double x) {
  const double t = std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.79788456080286535588 * (1 + 0.134145 * x * x);
}

// What the epilogue makes of one element of alpha·a·b.
double finish(const Call& call, int64_t batch, int64_t r, int64_t j, double value) {
  const SimtMatmulDesc& desc = call.desc;
  const auto type = call.d_layout.type;
  auto* aux = static_cast<char*>(const_cast<void*>(desc.aux)) + batch * desc.aux_batch_stride * bytes_of(type);
  if (has(desc, CUBLASLT_EPILOGUE_BIAS)) value += element(desc.bias, type, r);
  if (has(desc, CUBLASLT_EPILOGUE_GELU_AUX)) {
    set_element(aux, type, j * desc.aux_ld + r, value);
    value = gelu(value);
  }
  if (has(desc, CUBLASLT_EPILOGUE_DGELU)) value *= gelu_slope(element(aux, type, j * desc.aux_ld + r));
  return value;
}

template <class T>
void multiply(const Call& call, int64_t batch) {
  const auto& d = call.d_layout;
  const bool a_turned = call.desc.transposes[0] == CUBLAS_OP_T;
  const int64_t m = d.rows, n = d.columns, k = a_turned ? call.a_layout.rows : call.a_layout.columns;
  std::vector<T> a = gather<T>(call.a, call.a_layout, batch, a_turned);
  std::vector<T> b = gather<T>(call.b, call.b_layout, batch, call.desc.transposes[1] == CUBLAS_OP_T);
  if (call.desc.compute == CUBLAS_COMPUTE_32F_FAST_TF32) round_to_tf32(a), round_to_tf32(b);
  std::vector<T> product(static_cast<size_t>(m * n));
  const DType dtype = tessera::dtype_of<T>();
  const tessera::Product views{.a = {a.data(), dtype, {m, k}, {k, 1}},
                               .b = {b.data(), dtype, {k, n}, {n, 1}},
                               .c = {product.data(), dtype, {m, n}, {n, 1}},
                               .accumulate = false};
  if constexpr (std::is_same_v<T, double>) tessera::multiply_f64(views);
  else tessera::multiply_f32(views);
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t j = 0; j < n; ++j) {
      double value = finish(call, batch, r, j, call.alpha * static_cast<double>(product[r * n + j]));
      const int64_t from = batch * call.c_layout.batch_stride + j * call.c_layout.ld + r;
      if (call.beta != 0) value += call.beta * element(call.c, call.c_layout.type, from);
      set_element(call.d, d.type, batch * d.batch_stride + j * d.ld + r, value);
    }
  }
  for (int64_t j = 0; has(call.desc, CUBLASLT_EPILOGUE_BGRADB) && j < n; ++j) {
    double sum = 0;
    for (int64_t i = 0; i < k; ++i) sum += static_cast<double>(b[i * n + j]);
    set_element(const_cast<void*>(call.desc.bias), d.type, j, sum);
  }
}

bool has_aux(const SimtMatmulDesc& desc) { return desc.epilogue & 128; }

bool aligned(const void* address, uint32_t alignment) { return reinterpret_cast<uintptr_t>(address) % alignment == 0; }

// The extents, types and leading dimensions of a call that cuBLASLt would take.
bool is_valid(const SimtMatmulDesc& desc, const SimtMatrixLayout& a, const SimtMatrixLayout& b,
              const SimtMatrixLayout& c, const SimtMatrixLayout& d) {
  const bool a_turned = desc.transposes[0] == CUBLAS_OP_T, b_turned = desc.transposes[1] == CUBLAS_OP_T;
  const bool fits = (a_turned ? a.columns : a.rows) == d.rows && (b_turned ? b.rows : b.columns) == d.columns &&
                    (a_turned ? a.rows : a.columns) == (b_turned ? b.columns : b.rows) && c.rows == d.rows &&
                    c.columns == d.columns && c.type == d.type && a.type == b.type;
  bool strides = true, batches = true;
  for (const SimtMatrixLayout* x : {&a, &b, &c, &d}) {
    strides = strides && x->ld >= x->rows && x->rows > 0 && x->columns > 0;
    batches = batches && x->batch == d.batch;
  }
  const bool is_double = a.type == CUDA_R_64F;
  const bool types = is_double              ? d.type == CUDA_R_64F
                     : a.type == CUDA_R_32F ? d.type == CUDA_R_32F
                                            : d.type == a.type || d.type == CUDA_R_32F;
  const bool compute = is_double ? desc.compute == CUBLAS_COMPUTE_64F && desc.scale == CUDA_R_64F
                                 : desc.compute != CUBLAS_COMPUTE_64F && desc.scale == CUDA_R_32F;
  const bool has_vector = desc.epilogue & (CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_BGRADB);
  const bool vector =
      !has_vector || (desc.bias != nullptr && (desc.bias_type < 0 || desc.bias_type == static_cast<int32_t>(d.type)));
  const bool aux = !has_aux(desc) || (desc.aux != nullptr && desc.aux_ld >= d.rows &&
                                      (desc.aux_type < 0 || desc.aux_type == static_cast<int32_t>(d.type)));
  return fits && strides && batches && types && compute && vector && aux;
}

// Whether there is an algorithm for a valid call: for a bare product always. Epilogues that some version or GPU has
// none for are refused: of double precision, of matrices with one row or column, of aux lines that are no multiple of
// eight, of sums over batches.
bool has_algorithm(const SimtMatmulDesc& desc, const SimtMatrixLayout& a, const SimtMatrixLayout& b,
                   const SimtMatrixLayout& d) {
  if (desc.epilogue == CUBLASLT_EPILOGUE_DEFAULT) return true;
  const bool is_wide = std::min({a.rows, a.columns, b.rows, b.columns}) > 1;
  const bool aux = !has_aux(desc) || (desc.aux_ld % 8 == 0 && desc.aux_batch_stride % 8 == 0);
  const bool sums = !(desc.epilogue & CUBLASLT_EPILOGUE_BGRADB) || d.batch == 1;
  return d.type != CUDA_R_64F && is_wide && aux && sums;
}

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new SimtCublasLt{};
  return cudaGetDevice(&(*handle)->device);
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute, cudaDataType_t scale) {
  *desc = new SimtMatmulDesc{.compute = compute, .scale = scale};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete desc;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return take(desc->transposes[0], value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return take(desc->transposes[1], value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return take(desc->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return take(desc->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return take(desc->aux, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: return take(desc->aux_ld, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE: return take(desc->aux_batch_stride, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE: return take(desc->aux_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return take(desc->bias_type, value, bytes);
  }
  return CUBLAS_STATUS_NOT_SUPPORTED;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
  *layout = new SimtMatrixLayout{
      .type = type, .rows = static_cast<int64_t>(rows), .columns = static_cast<int64_t>(columns), .ld = ld};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  if (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) return take(layout->batch, value, bytes);
  return take(layout->batch_stride, value, bytes);
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new SimtMatmulPreference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return take(preference->workspace, value, bytes);
  return take(preference->alignments[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference,
                                              int wanted, cublasLtMatmulHeuristicResult_t* results, int* found) {
  ++searches;
  *found = 0;
  if (wanted < 1 || !is_valid(*desc, *a, *b, *c, *d)) return CUBLAS_STATUS_INVALID_VALUE;
  *found = 1;  // also where the one result is a refusal
  *results = {};
  if (!has_algorithm(*desc, *a, *b, *d)) results->state = CUBLAS_STATUS_NOT_SUPPORTED;
  std::memcpy(results->algo.alignments, preference->alignments, sizeof preference->alignments);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void*, size_t,
                              cudaStream_t stream) {
  tessera::simt::check_device("cublasLtMatmul", {handle->device, stream});
  const uint32_t* alignments = algorithm->alignments;
  const bool as_promised =
      aligned(a, alignments[0]) && aligned(b, alignments[1]) && aligned(c, alignments[2]) && aligned(d, alignments[3]);
  for (const void* address : {a, b, static_cast<const void*>(d), desc->bias, static_cast<const void*>(desc->aux)})
    if (address != nullptr) tessera::simt::check_global(address, 1, "cublasLtMatmul");
  tessera::expect(aligned(desc->bias, 16) && aligned(desc->aux, 16),
                  "cublasLtMatmul: misaligned address in an epilogue");
  if (!as_promised || !is_valid(*desc, *a_layout, *b_layout, *c_layout, *d_layout)) return CUBLAS_STATUS_INVALID_VALUE;
  if (!has_algorithm(*desc, *a_layout, *b_layout, *d_layout)) return CUBLAS_STATUS_NOT_SUPPORTED;
  const double factor = element(alpha, desc->scale, 0), kept = element(beta, desc->scale, 0);
  const Call call{*desc, factor, kept, a, b, c, d, *a_layout, *b_layout, *c_layout, *d_layout};
  tessera::simt::enqueue(stream, [call, batches = d_layout->batch, is_double = desc->scale == CUDA_R_64F] {
    for (int64_t batch = 0; batch < batches; ++batch) {
      if (is_double) multiply<double>(call, batch);
      else multiply<float>(call, batch);
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}

int64_t tessera::simt::algorithm_searches() { return searches; }
