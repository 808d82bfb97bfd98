// c = a·b over the last two axes, with one batch axis. Backward is two more products.
#include "kernels/matmul/matmul.h"

#include "framework/ops.h"
#include "framework/ops/broadcast.h"

namespace tessera::ops {
namespace {

// The kernel wants neighbours along one of the last two axes.
Tensor matrices(const Tensor& x) { return x.strides()[-1] == 1 || x.strides()[-2] == 1 ? x : x.contiguous_copy(); }

// a, or b, stretched over the batch of the product.
Tensor batched(const Tensor& x, const Shape& product) {
  if (product.rank() == 2) return matrices(x);
  return matrices(x).expand({product[0], x.dim(-2), x.dim(-1)});
}

void multiply(const Tensor& a, const Tensor& b, const Tensor& c, float beta) {
  launch(MatMul{.a = a.in<3>(),
                .b = b.in<3>(),
                .bias = {},
                .add = {},
                .activation = Activation::none,
                .pre_activation = {},
                .c = c.out<3>(),
                .beta = beta},
         exec_of(c.device()));
}

// Adds a·b to the gradient of a factor of `shape`; where its batch was stretched, summed over it.
void add_product(const Tensor& a, const Tensor& b, const Shape& shape, DType dtype, GradientSlot& slot) {
  const Shape product = a.shape().with(-1, b.dim(-1));
  if (product == shape) {
    const auto [target, beta] = slot.target();
    return multiply(a, b, target, beta);
  }
  const Tensor each = Tensor::empty(product, accumulate_dtype(a.dtype()), a.device());
  multiply(a, b, each, 0);
  add_reduced(each, shape, dtype, slot);
}

Shape product_shape(const Variable& a, const Variable& b) {
  const int ranks[] = {a.rank(), b.rank()};
  expect(std::min(ranks[0], ranks[1]) >= 2 && std::max(ranks[0], ranks[1]) <= 3,
         "matmul: {} and {} must be matrices, or batches of matrices in one leading axis", a.shape(), b.shape());
  expect(a.dim(-1) == b.dim(-2), "matmul: the last extent of {} must be the last but one of {}", a.shape(), b.shape());
  if (a.rank() == 2 && b.rank() == 2) return {a.dim(0), b.dim(1)};
  const int64_t batch_a = a.rank() == 3 ? a.dim(0) : 1, batch_b = b.rank() == 3 ? b.dim(0) : 1;
  expect(batch_a == batch_b || batch_a == 1 || batch_b == 1, "matmul: the batches of {} and {} must agree or be 1",
         a.shape(), b.shape());
  return {batch_a == 1 ? batch_b : batch_a, a.dim(-2), b.dim(-1)};
}

}  // namespace

Variable matmul(const Variable& a, const Variable& b) {
  const Shape shape = product_shape(a, b);
  const DType dtype = common_dtype("matmul", a, b);
  expect((a.dtype() == dtype || a.parameter()) && (b.dtype() == dtype || b.parameter()),
         "matmul: {} and {} must have one dtype; cast one of them", a.dtype(), b.dtype());
  const Tensor left = batched(a.value_as(dtype), shape), right = batched(b.value_as(dtype), shape);
  const Tensor y = Tensor::empty(shape, dtype, a.device());
  multiply(left, right, y, 0);

  auto backward = [left, right, a_shape = a.shape(), b_shape = b.shape(), a_dtype = a.dtype(), b_dtype = b.dtype()](
                      const Tensor& gradient, GradientSlot da, GradientSlot db) {
    const Tensor dy = matrices(gradient);
    if (da.wanted()) add_product(dy, right.transpose(-2, -1), a_shape, a_dtype, da);
    if (db.wanted()) add_product(left.transpose(-2, -1), dy, b_shape, b_dtype, db);
  };
  return record("matmul", y, std::move(backward), a, b);
}

}  // namespace tessera::ops
