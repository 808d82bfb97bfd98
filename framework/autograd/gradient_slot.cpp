#include "framework/autograd/gradient_slot.h"

#include "kernels/elementwise/add.h"

namespace tessera {
namespace {

GradientTarget parameter_target(ParameterState& parameter) {
  if (!parameter.gradient.defined()) parameter.gradient = empty_like(parameter.value);
  const float beta = parameter.gradient_written ? 1.0f : 0.0f;
  parameter.gradient_written = true;
  return {parameter.gradient, beta};
}

}  // namespace

DType GradientSlot::dtype() const {
  const bool kept = state_->parameter && state_->parameter->gradient.defined();
  return kept ? state_->parameter->gradient.dtype() : state_->dtype;
}

Tensor GradientSlot::arrived() const {
  if (!state_->parameter) return state_->gradient;
  return state_->parameter->gradient_written ? state_->parameter->gradient : Tensor();
}

GradientTarget GradientSlot::target() {
  if (state_->parameter) return parameter_target(*state_->parameter);
  Tensor& gradient = state_->gradient;
  if (!gradient.defined()) {
    gradient = Tensor::empty(state_->shape, state_->dtype, state_->device);
    return {gradient, 0};
  }
  keep_apart();
  return {gradient, 1};
}

void GradientSlot::keep_apart() {
  Tensor& gradient = state_->gradient;
  if (!gradient.defined() || (gradient.unique() && gradient.contiguous())) return;
  gradient = gradient.contiguous_copy();
}

void GradientSlot::add(const Tensor& gradient) {
  if (!wanted()) return;
  // An arena keeps the gradients of 16-bit weights wider than the ops that return them.
  const bool widened = state_->parameter && is_16bit_float(state_->dtype) && gradient.dtype() == state_->dtype;
  expect(gradient.shape() == state_->shape && (gradient.dtype() == dtype() || widened),
         "backward: the gradient of the output of {} must be {} {}, but a consumer returned {} {}", state_->producer,
         dtype(), state_->shape, gradient.dtype(), gradient.shape());
  if (!state_->parameter && !state_->gradient.defined()) {
    state_->gradient = gradient;
    return;
  }
  const auto [sum, beta] = target();
  if (beta == 0) {
    sum.copy_from(gradient);
  } else {
    launch(Add{.a = sum.rows().in<4>(), .b = gradient.rows().in<4>(), .y = sum.rows().out<4>()}, exec_of(sum.device()));
  }
}

}  // namespace tessera
