// Sums and means. The result is f32 (f64 for f64): a sum in 16 bit would lose what it was taken for.
#include "framework/ops.h"
#include "kernels/elementwise/scale.h"
#include "kernels/reduce/sum.h"

namespace tessera::ops {
namespace {

// dx = factor · dy, dy stretched over the axes that were summed.
void spread(const Tensor& dy, double factor, const Shape& shape, DType dtype, GradientSlot& slot) {
  if (!slot.wanted()) return;
  const Tensor scaled = empty_like(dy);
  launch(Scale{.x = dy.to_contiguous().view({-1}).in<1>(), .factor = factor, .y = scaled.view({-1}).out<1>()},
         exec_of(dy.device()));
  const Tensor dx = Tensor::empty(shape, dtype, dy.device());
  dx.copy_from(scaled.expand(shape));
  slot.add(dx);
}

Variable scaled_sum(const char* op, const Variable& x, double factor) {
  expect(is_floating(x.dtype()), "{}: x is {}; cast it to a floating dtype", op, x.dtype());
  const Tensor y = Tensor::empty({}, accumulate_dtype(x.dtype()), x.device());
  launch(Sum{.x = x.value().to_contiguous().view({1, x.value().numel(), 1}).in<3>(),
             .scale = factor,
             .beta = 0,
             .y = y.out<2>()},
         exec_of(y.device()));
  auto backward = [factor, shape = x.shape(), dtype = x.dtype()](const Tensor& dy, GradientSlot dx) {
    spread(dy, factor, shape, dtype, dx);
  };
  return record(op, y, std::move(backward), x);
}

}  // namespace

Variable sum(const Variable& x) { return scaled_sum("sum", x, 1); }

Variable mean(const Variable& x) {
  expect(x.value().numel() > 0, "mean: {} has no elements", x.shape());
  return scaled_sum("mean", x, 1 / static_cast<double>(x.value().numel()));
}

Variable sum(const Variable& x, int axis) {
  expect(is_floating(x.dtype()), "sum: x is {}; cast it to a floating dtype", x.dtype());
  expect(axis >= -x.rank() && axis < x.rank(), "sum: {} has no axis {}", x.shape(), axis);
  const int at = axis < 0 ? axis + x.rank() : axis;
  Shape shape;
  int64_t outer = 1, inner = 1;
  for (int i = 0; i < x.rank(); ++i) {
    if (i < at) outer *= x.dim(i);
    if (i > at) inner *= x.dim(i);
    if (i != at) shape.push_back(x.dim(i));
  }
  const Tensor y = Tensor::empty(shape, accumulate_dtype(x.dtype()), x.device());
  launch(Sum{.x = x.value().to_contiguous().view({outer, x.dim(at), inner}).in<3>(),
             .scale = 1,
             .beta = 0,
             .y = y.view({outer, inner}).out<2>()},
         exec_of(y.device()));
  auto backward = [at, shape = x.shape(), dtype = x.dtype()](const Tensor& dy, GradientSlot dx) {
    spread(dy.reshape(shape.with(at, 1)), 1, shape, dtype, dx);
  };
  return record("sum", y, std::move(backward), x);
}

}  // namespace tessera::ops
