// GELU, SiLU and SwiGLU. Backward keeps the input; the output is recomputed from it where a consumer needs it.
#include "framework/ops.h"
#include "kernels/elementwise/gelu.h"
#include "kernels/elementwise/silu.h"
#include "kernels/elementwise/swiglu.h"

namespace tessera::ops {
namespace {

Tensor flat(const Tensor& x) { return x.to_contiguous().view({-1}); }

void expect_floating(const char* op, const Variable& x) {
  expect(is_floating(x.dtype()), "{}: x is {}; cast it to a floating dtype", op, x.dtype());
}

Tensor gelu_of(const Tensor& x, Activation activation) {
  Tensor y = empty_like(x);
  launch(Gelu{.x = flat(x).in<1>(), .activation = activation, .y = y.view({-1}).out<1>()}, exec_of(x.device()));
  return y;
}

Tensor silu_of(const Tensor& x) {
  Tensor y = empty_like(x);
  launch(Silu{.x = flat(x).in<1>(), .y = y.view({-1}).out<1>()}, exec_of(x.device()));
  return y;
}

Tensor swiglu_of(const Tensor& gate_up) {
  Tensor y = Tensor::empty(gate_up.shape().with(-1, gate_up.dim(-1) / 2), gate_up.dtype(), gate_up.device());
  launch(SwiGlu{.gate_up = gate_up.rows().in<2>(), .y = y.rows().out<2>()}, exec_of(y.device()));
  return y;
}

}  // namespace

Variable gelu(const Variable& x, Activation activation) {
  expect_floating("gelu", x);
  expect(activation != Activation::none, "gelu: the activation must be gelu_tanh or gelu_exact, not none");
  auto backward = [x = x.saved(), activation](const Tensor& dy, GradientSlot slot) {
    if (!slot.wanted()) return;
    const Tensor kept = x.get(), dx = empty_like(kept);
    launch(
        GeluBackward{
            .x = flat(kept).in<1>(), .dy = flat(dy).in<1>(), .activation = activation, .dx = dx.view({-1}).out<1>()},
        exec_of(dx.device()));
    slot.add(dx);
  };
  return record("gelu", gelu_of(x.value(), activation), std::move(backward), x)
      .recomputed_by([x = x.saved(), activation] { return gelu_of(x.get(), activation); });
}

Variable silu(const Variable& x) {
  expect_floating("silu", x);
  auto backward = [x = x.saved()](const Tensor& dy, GradientSlot slot) {
    if (!slot.wanted()) return;
    const Tensor kept = x.get(), dx = empty_like(kept);
    launch(SiluBackward{.x = flat(kept).in<1>(), .dy = flat(dy).in<1>(), .dx = dx.view({-1}).out<1>()},
           exec_of(dx.device()));
    slot.add(dx);
  };
  return record("silu", silu_of(x.value()), std::move(backward), x).recomputed_by([x = x.saved()] {
    return silu_of(x.get());
  });
}

Variable swiglu(const Variable& gate_up) {
  expect_floating("swiglu", gate_up);
  expect(gate_up.rank() >= 1 && gate_up.dim(-1) % 2 == 0,
         "swiglu: the last extent of {} must be even: the gate, then as many values to be gated", gate_up.shape());
  auto backward = [x = gate_up.saved()](const Tensor& dy, GradientSlot slot) {
    if (!slot.wanted()) return;
    const Tensor kept = x.get(), dx = empty_like(kept);
    launch(SwiGluBackward{.gate_up = kept.rows().in<2>(), .dy = dy.rows().in<2>(), .d_gate_up = dx.rows().out<2>()},
           exec_of(dx.device()));
    slot.add(dx);
  };
  return record("swiglu", swiglu_of(gate_up.value()), std::move(backward), gate_up)
      .recomputed_by([x = gate_up.saved()] { return swiglu_of(x.get()); });
}

}  // namespace tessera::ops
