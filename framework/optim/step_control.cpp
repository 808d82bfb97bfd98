#include "framework/optim/step_control.h"

#include <cstddef>
#include <cstring>

#include "kernels/elementwise/add.h"

namespace tessera {
namespace {

template <class T>
Tensor bytes_of(const T& value, Device device) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
  return Tensor::from(std::span<const uint8_t>(bytes, sizeof(T)), {static_cast<int64_t>(sizeof(T))}, device);
}

template <class T>
T value_of(const Tensor& memory) {
  const std::vector<uint8_t> bytes = memory.to_vector<uint8_t>();
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// A number of the state, as a scalar.
template <class T>
Tensor member(const Tensor& state, size_t offset) {
  const auto begin = static_cast<int64_t>(offset);
  return state.slice(0, begin, begin + static_cast<int64_t>(sizeof(T))).bytes_as(dtype_of<T>()).view({});
}

StepPolicy checked(const StepPolicy& policy) {
  const Schedule& schedule = policy.schedule;
  expect(schedule.learning_rate >= 0 && schedule.min_lr >= 0,
         "StepControl: learning_rate and min_lr must be 0 or more, not {} and {}", schedule.learning_rate,
         schedule.min_lr);
  expect(schedule.warmup_iters >= 0, "StepControl: warmup_iters must be 0 or more, not {}", schedule.warmup_iters);
  expect(
      schedule.kind == Schedule::Kind::constant || schedule.decay_iters > 0,
      "StepControl: a linear or cosine schedule needs decay_iters, the step at which it reaches min_lr, above 0, not "
      "{}; a constant one needs none",
      schedule.decay_iters);
  expect(policy.grad_clip >= 0, "StepControl: grad_clip must be above 0, or 0 for no clipping, not {}",
         policy.grad_clip);
  expect(policy.beta1 >= 0 && policy.beta1 < 1 && policy.beta2 >= 0 && policy.beta2 < 1,
         "StepControl: the betas must lie in [0, 1), not {} and {}", policy.beta1, policy.beta2);
  return policy;
}

}  // namespace

StepControl::StepControl(Device device, const StepPolicy& policy, const StepState& initial)
    : policy_(checked(policy)),
      state_(bytes_of(initial, device)),
      result_(bytes_of(ScanResult{}, device)),
      fresh_(bytes_of(ScanResult{}, device)) {}

void StepControl::add_loss(const Tensor& part) const {
  launch(Add{.a = loss().in<4>(), .b = part.in<4>(), .y = loss().out<4>()}, exec_of(state_.device()));
}

Tensor StepControl::loss() const { return member<double>(state_, offsetof(StepState, loss)); }

Tensor StepControl::scale() const { return member<float>(state_, offsetof(StepState, scale)); }

Tensor StepControl::squared_norm() const { return member<double>(result_, offsetof(ScanResult, squared_norm)); }

Tensor StepControl::finite() const { return member<int32_t>(result_, offsetof(ScanResult, finite)); }

void StepControl::clear_hold() const { member<int32_t>(state_, offsetof(StepState, held)).fill(0); }

StepState StepControl::copied(const PinnedBuffer& buffer) {
  buffer.wait();
  StepState state;
  std::memcpy(&state, buffer.data(), sizeof state);
  return state;
}

void StepControl::scan(const Tensor& gradients) const {
  result_.copy_from(fresh_);
  scan_more(gradients);
}

void StepControl::scan_more(const Tensor& gradients) const {
  launch(GradientScan{.gradient = gradients.in<1>(), .result = static_cast<ScanResult*>(result_.address())},
         exec_of(gradients.device()));
}

void StepControl::advance() const {
  launch(AdvanceStep{.scan = static_cast<const ScanResult*>(result_.address()),
                     .policy = policy_,
                     .state = static_cast<StepState*>(state_.address())},
         exec_of(state_.device()));
}

StepState StepControl::read() const { return value_of<StepState>(state_); }

ScanResult StepControl::read_scan() const { return value_of<ScanResult>(result_); }

void StepControl::write(const StepState& state) const { state_.copy_from(bytes_of(state, state_.device())); }

}  // namespace tessera
