// Sums, products and multiples, element by element.
#include "framework/ops.h"
#include "framework/ops/broadcast.h"
#include "kernels/elementwise/add.h"
#include "kernels/elementwise/mul.h"
#include "kernels/elementwise/scale.h"

namespace tessera::ops {

Variable add(const Variable& a, const Variable& b) {
  const Shape shape = broadcast_shape("add", a, b);
  const Tensor y = Tensor::empty(shape, common_dtype("add", a, b), a.device());
  launch(Add{.a = a.value().expand(shape).in<4>(), .b = b.value().expand(shape).in<4>(), .y = y.out<4>()},
         exec_of(y.device()));

  auto backward = [a_shape = a.shape(), b_shape = b.shape(), a_dtype = a.dtype(), b_dtype = b.dtype()](
                      const Tensor& dy, GradientSlot da, GradientSlot db) {
    add_reduced(dy, a_shape, a_dtype, da);
    add_reduced(dy, b_shape, b_dtype, db);
  };
  return record("add", y, std::move(backward), a, b);
}

namespace {

// The gradient of one factor: dy times the other, summed where the factor was stretched.
void factor_gradient(const Tensor& dy, const Saved& other, const Shape& shape, DType dtype, GradientSlot& slot) {
  if (!slot.wanted()) return;
  const bool stretched = dy.shape() != shape;
  const Tensor product = Tensor::empty(dy.shape(), stretched ? accumulate_dtype(dy.dtype()) : dtype, dy.device());
  launch(Mul{.a = dy.in<4>(), .b = other.get().expand(dy.shape()).in<4>(), .y = product.out<4>()},
         exec_of(dy.device()));
  add_reduced(product, shape, dtype, slot);
}

}  // namespace

Variable mul(const Variable& a, const Variable& b) {
  const Shape shape = broadcast_shape("mul", a, b);
  const Tensor y = Tensor::empty(shape, common_dtype("mul", a, b), a.device());
  launch(Mul{.a = a.value().expand(shape).in<4>(), .b = b.value().expand(shape).in<4>(), .y = y.out<4>()},
         exec_of(y.device()));

  auto backward = [kept_a = b.wants_gradient() ? a.saved() : Saved(), kept_b = a.wants_gradient() ? b.saved() : Saved(),
                   a_shape = a.shape(), b_shape = b.shape(), a_dtype = a.dtype(),
                   b_dtype = b.dtype()](const Tensor& dy, GradientSlot da, GradientSlot db) {
    factor_gradient(dy, kept_b, a_shape, a_dtype, da);
    factor_gradient(dy, kept_a, b_shape, b_dtype, db);
  };
  return record("mul", y, std::move(backward), a, b);
}

namespace {

Tensor scaled(const Tensor& x, double factor) {
  Tensor y = empty_like(x);
  launch(Scale{.x = x.to_contiguous().view({-1}).in<1>(), .factor = factor, .y = y.view({-1}).out<1>()},
         exec_of(x.device()));
  return y;
}

}  // namespace

Variable scale(const Variable& x, double factor) {
  expect(is_floating(x.dtype()), "scale: x is {}; cast it to a floating dtype", x.dtype());
  auto backward = [factor](const Tensor& dy, GradientSlot dx) {
    if (dx.wanted()) dx.add(scaled(dy, factor));
  };
  return record("scale", scaled(x.value(), factor), std::move(backward), x);
}

}  // namespace tessera::ops
