// Matrix products by oneDNN; the only file that includes it.
#include <oneapi/dnnl/dnnl.hpp>

#include "kernels/common/error.h"
#include "kernels/matmul/product.h"

namespace tessera {

void multiply_f32(const Product& product) {
  const auto& [a, b, c, accumulate] = product;
  const dnnl_status_t status =
      dnnl_sgemm(is_row_major(a) ? 'N' : 'T', is_row_major(b) ? 'N' : 'T', c.shape[0], c.shape[1], a.shape[1], 1.0f,
                 a.as<float>(), leading_dimension(a), b.as<float>(), leading_dimension(b), accumulate ? 1.0f : 0.0f,
                 c.as<float>(), std::max(c.strides[0], c.shape[1]));
  expect(status == dnnl_success, "matmul: oneDNN's sgemm failed with status {} for [{}, {}]·[{}, {}]",
         static_cast<int>(status), a.shape[0], a.shape[1], b.shape[0], b.shape[1]);
}

}  // namespace tessera
