// Matrix products by OpenBLAS, where oneDNN is absent.
#include <cblas.h>

#include "kernels/common/error.h"
#include "kernels/matmul/product.h"

namespace tessera {

void multiply_f32(const Product& product) {
  const auto& [a, b, c, accumulate, packed_b] = product;
  cblas_sgemm(CblasRowMajor, is_row_major(a) ? CblasNoTrans : CblasTrans, is_row_major(b) ? CblasNoTrans : CblasTrans,
              static_cast<blasint>(c.shape[0]), static_cast<blasint>(c.shape[1]), static_cast<blasint>(a.shape[1]),
              1.0f, a.as<float>(), static_cast<blasint>(leading_dimension(a)), b.as<float>(),
              static_cast<blasint>(leading_dimension(b)), accumulate ? 1.0f : 0.0f, c.as<float>(),
              static_cast<blasint>(std::max(c.strides[0], c.shape[1])));
}

bool has_bf16_products() { return false; }

void multiply_bf16(const Product& product) { expect(false, "matmul: OpenBLAS has no products of {}", product.a.dtype); }

int64_t packed_bf16_bytes(const In<2>&) { return 0; }

void pack_bf16(const In<2>& b, void*) { expect(false, "matmul: OpenBLAS has no products of {}", b.dtype); }

}  // namespace tessera
