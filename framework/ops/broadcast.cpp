#include "framework/ops/broadcast.h"

#include "framework/ops/one_device.h"
#include "kernels/reduce/sum.h"

namespace tessera::ops {
namespace {

// `shape` with leading ones, so that it has as many axes as the result.
Shape padded(const Shape& shape, int rank) {
  Shape result;
  for (int missing = rank - shape.rank(); missing > 0; --missing) result.push_back(1);
  for (const int64_t extent : shape) result.push_back(extent);
  return result;
}

/// Neighbouring axes [begin, end) of a contiguous tensor, to be summed at once.
struct Axes {
  int begin, end;
};

// The first group of axes that are longer in `from` than in `to`; empty where the shapes agree.
Axes first_stretched(const Shape& from, const Shape& to) {
  int begin = 0;
  while (begin < from.rank() && from[begin] == to[begin]) ++begin;
  int end = begin;
  while (end < from.rank() && from[end] != to[end]) ++end;
  return {begin, end};
}

int64_t product(const Shape& shape, int begin, int end) {
  int64_t n = 1;
  for (int axis = begin; axis < end; ++axis) n *= shape[axis];
  return n;
}

void sum_axes(const Tensor& x, Axes axes, float beta, const Tensor& y) {
  const int64_t outer = product(x.shape(), 0, axes.begin), n = product(x.shape(), axes.begin, axes.end);
  const int64_t inner = product(x.shape(), axes.end, x.rank());
  launch(Sum{.x = x.view({outer, n, inner}).in<3>(), .scale = 1, .beta = beta, .y = y.view({outer, inner}).out<2>()},
         exec_of(x.device()));
}

}  // namespace

Shape broadcast_shape(const char* op, const Variable& a, const Variable& b) {
  expect(a.defined() && b.defined(), "{}: the {} input is undefined; is it an absent bias?", op,
         a.defined() ? "second" : "first");
  const int rank = std::max(a.rank(), b.rank());
  expect(rank <= 4, "{}: {} and {} have more than four axes; reshape them to four", op, a.shape(), b.shape());
  Shape shape = padded(a.shape(), rank);
  const Shape other = padded(b.shape(), rank);
  for (int axis = 0; axis < rank; ++axis) {
    expect(shape[axis] == other[axis] || shape[axis] == 1 || other[axis] == 1,
           "{}: {} and {} do not broadcast; extents must agree or be 1, counted from the last axis", op, a.shape(),
           b.shape());
    if (shape[axis] == 1) shape[axis] = other[axis];
  }
  return shape;
}

DType common_dtype(const char* op, const Variable& a, const Variable& b) {
  expect(is_floating(a.dtype()) && is_floating(b.dtype()), "{}: {} and {} are not both floating; cast them first", op,
         a.dtype(), b.dtype());
  expect_one_device(op, {&a, &b});
  if (a.parameter() && !b.parameter()) return b.dtype();
  if (b.parameter() && !a.parameter()) return a.dtype();
  if (a.dtype() == b.dtype()) return a.dtype();
  return a.dtype() == DType::f64 || b.dtype() == DType::f64 ? DType::f64 : DType::f32;
}

void add_reduced(const Tensor& gradient, const Shape& shape, DType dtype, GradientSlot& slot) {
  if (!slot.wanted()) return;
  if (gradient.shape() == shape) return slot.add(gradient.to(dtype));
  Tensor left = gradient.to_contiguous();
  const Shape wanted = padded(shape, left.rank());
  Axes axes = first_stretched(left.shape(), wanted);
  if (axes.begin == axes.end) return slot.add(left.to(dtype).view(shape));  // only leading ones were added
  while (true) {
    Shape summed = left.shape();
    for (int axis = axes.begin; axis < axes.end; ++axis) summed[axis] = 1;
    if (summed == wanted) break;
    const Tensor part = Tensor::empty(summed, accumulate_dtype(gradient.dtype()), gradient.device());
    sum_axes(left, axes, 0, part);
    left = part;
    axes = first_stretched(left.shape(), wanted);
  }
  const auto [target, beta] = slot.target();
  sum_axes(left, axes, beta, target);
}

}  // namespace tessera::ops
