// The likeliest token of each row of logits.
#include "kernels/reduce/arg_max.h"

#include "framework/ops.h"

namespace tessera::ops {

Tensor arg_max(const Tensor& x) {
  expect(x.rank() >= 1 && x.dim(-1) >= 1 && is_floating(x.dtype()),
         "arg_max: x must be a floating tensor [..., V] with V at least 1, not {} {}", x.dtype(), x.shape());
  Shape rows;
  for (int axis = 0; axis + 1 < x.rank(); ++axis) rows.push_back(x.dim(axis));
  Tensor index = Tensor::empty(rows, DType::i32, x.device());
  launch(ArgMax{.x = x.rows().in<2>(), .index = index.view({-1}).out<1>()}, exec_of(x.device()));
  return index;
}

}  // namespace tessera::ops
