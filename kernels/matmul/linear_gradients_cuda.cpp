// cuBLASLt takes the slope of the tanh Gelu and the sum over rows as epilogues. The sum arrives without accumulation,
// so it is added to the bias gradient by a pass over one vector.
#include "kernels/common/cuda/scratch.h"
#include "kernels/matmul/linear_gradients.h"
#include "kernels/matmul/linear_parts.h"
#include "kernels/matmul/product_cuda.h"

namespace tessera {
namespace {

In<3> read(const Out<3>& x) { return {x.data, x.dtype, x.shape, x.strides}; }

}  // namespace

void LinearWeightGradient::operator()(Cuda cuda) const {
  const MatMul product = linear::weight_product(*this);
  const bool empty = dweight.numel() == 0 || dy.shape[0] == 0;
  // The sum has dweight's dtype: one of 16 bits over thousands of rows would lose digits.
  if (dbias && !empty && dweight.dtype == DType::f32) {
    const int64_t n = dy.shape[1];
    const Scratch scratch(cuda, static_cast<size_t>(n) * sizeof(float));
    const DeviceProduct fused{.a = product.a,
                              .b = product.b,
                              .bias = {},
                              .base = read(product.c),
                              .beta = dweight_beta,
                              .epilogue = ProductEpilogue::none,
                              .aux = {},
                              .row_sum = {scratch.as<void>(), DType::f32, {n}, {1}},
                              .c = product.c};
    if (fused.try_run(cuda))
      return linear::row_sum({scratch.as<void>(), DType::f32, {1, n}, {n, 1}}, dbias, dbias_beta)(cuda);
  }
  product(cuda);
  if (dbias) linear::row_sum(dy, dbias, dbias_beta)(cuda);
}

void LinearActivationGradient::operator()(Cuda cuda) const {
  if (x) linear::activated (*this)(cuda);
  const MatMul product = linear::input_product(*this);
  const DeviceProduct fused{
      .a = product.a,
      .b = product.b,
      .bias = {},
      .base = {},
      .beta = 0,
      .epilogue = ProductEpilogue::gelu_gradient,
      .aux = linear::batch_of_one(Out<2>{const_cast<void*>(pre.data), pre.dtype, pre.shape, pre.strides}),
      .row_sum = {},
      .c = product.c};
  const bool fits = activation == Activation::gelu_tanh && dpre.numel() > 0 && dy.shape[1] > 0;
  if (fits && fused.try_run(cuda)) return;
  product(cuda);
  linear::activation_slope (*this)(cuda);
}

}  // namespace tessera
