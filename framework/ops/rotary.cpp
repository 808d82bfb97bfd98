// Rotary position embedding. A rotation needs nothing of the forward for its gradient but the way back.
#include "kernels/rotary/rotary.h"

#include "framework/ops.h"

namespace tessera::ops {
namespace {

Tensor rotated(const Tensor& x, const RotaryOptions& options, RotaryDirection direction) {
  const Tensor source = x.strides()[-1] == 1 ? x : x.contiguous_copy();
  Tensor y = empty_like(x);
  launch(Rotary{.x = source.in<4>(),
                .positions = {},
                .start = options.start,
                .base = options.base,
                .direction = direction,
                .y = y.out<4>()},
         exec_of(x.device()));
  return y;
}

}  // namespace

Variable rotary(const Variable& x, const RotaryOptions& options) {
  expect(x.rank() == 4 && is_floating(x.dtype()), "rotary: x must be a floating tensor [B, N, H, D], not {} {}",
         x.dtype(), x.shape());
  expect(x.dim(3) % 2 == 0, "rotary: the head size must be even, not {}", x.dim(3));
  expect(options.start >= 0 && options.base > 0, "rotary: start must be at least 0 and base positive, not {} and {}",
         options.start, options.base);
  auto backward = [options](const Tensor& dy, GradientSlot dx) {
    if (dx.wanted()) dx.add(rotated(dy, options, RotaryDirection::inverse));
  };
  return record("rotary", rotated(x.value(), options, RotaryDirection::forward), std::move(backward), x);
}

}  // namespace tessera::ops
