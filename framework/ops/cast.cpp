#include "framework/ops.h"

namespace tessera::ops {

Variable cast(const Variable& x, DType dtype) {
  expect(is_floating(x.dtype()) && is_floating(dtype), "cast: {} to {} has no gradient; use Tensor::to for integers",
         x.dtype(), dtype);
  if (x.dtype() == dtype) return x;
  return record(
      "cast", x.value_as(dtype),
      [dtype = x.dtype()](const Tensor& dy, GradientSlot dx) {
        if (dx.wanted()) dx.add(dy.to(dtype));
      },
      x);
}

}  // namespace tessera::ops
