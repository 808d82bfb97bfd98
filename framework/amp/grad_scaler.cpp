#include "framework/amp/grad_scaler.h"

#include <cmath>

#include "framework/ops.h"

namespace tessera {
namespace {

ScalePolicy policy_of(const GradScaler::Options& options) {
  return {.dynamic = options.enabled,
          .growth_factor = options.growth_factor,
          .backoff_factor = options.backoff_factor,
          .growth_interval = options.growth_interval,
          .hysteresis = options.hysteresis,
          .min_scale = options.min_scale,
          .max_scale = options.max_scale};
}

void check(const GradScaler::Options& options) {
  expect(options.init_scale > 0 && std::isfinite(options.init_scale), "GradScaler: init_scale must be positive, not {}",
         options.init_scale);
  expect(options.growth_factor > 1, "GradScaler: growth_factor must exceed 1, not {}", options.growth_factor);
  expect(options.backoff_factor > 0 && options.backoff_factor < 1,
         "GradScaler: backoff_factor must lie in (0, 1), not {}", options.backoff_factor);
  expect(options.growth_interval >= 1 && options.hysteresis >= 1,
         "GradScaler: growth_interval and hysteresis must be at least 1, not {} and {}", options.growth_interval,
         options.hysteresis);
  expect(options.min_scale >= 0 && options.min_scale <= options.max_scale,
         "GradScaler: min_scale {} must not exceed max_scale {}", options.min_scale, options.max_scale);
}

}  // namespace

Tensor UnscaleReport::unscaled(const std::string& name) const {
  for (const ParameterArena::Entry& entry : arena->entries()) {
    if (entry.parameter->name != name) continue;
    return ops::scale(Variable(entry.parameter->gradient), 1.0 / static_cast<double>(scale)).value();
  }
  fail("unscaled: there is no trainable parameter '{}'", name);
}

GradScaler::GradScaler(const Options& options) : options_(options) {
  check(options);
  state_.scale = options.enabled ? options.init_scale : 1;
  state_.hysteresis_left = options.hysteresis;
}

Variable GradScaler::scale(const Variable& loss) const {
  return state_.scale == 1 ? loss : ops::scale(loss, static_cast<double>(state_.scale));
}

UnscaleReport GradScaler::unscale(const Optimizer& optimizer) {
  const auto found = records_.find(&optimizer);
  expect(found == records_.end() || found->second.stage != Stage::unscaled,
         "GradScaler: unscale was already called for this optimizer since the last update; with accumulation call it "
         "once, "
         "after the last micro-batch");
  expect(found == records_.end(), "GradScaler: unscale was called after step; call update first");
  bool any = false;
  for (const ParameterArena::Entry& entry : optimizer.arena().entries()) any |= entry.parameter->gradient_written;
  expect(any, "GradScaler: this optimizer has no gradients; call backward(scaler.scale(loss)) before step");

  optimizer.arena().finish_window();
  optimizer.scan();
  const ScanResult scan = optimizer.control().read_scan();
  const UnscaleReport report{.finite = scan.finite != 0,
                             .norm = std::sqrt(scan.squared_norm) / static_cast<double>(state_.scale),
                             .scale = state_.scale,
                             .arena = &optimizer.arena()};
  records_[&optimizer] = {Stage::unscaled, report};
  return report;
}

bool GradScaler::step(const Optimizer& optimizer) {
  if (!records_.contains(&optimizer)) unscale(optimizer);
  Record& record = records_.at(&optimizer);
  expect(record.stage != Stage::stepped, "GradScaler: step was already called for this optimizer; call update first");
  record.stage = Stage::stepped;
  const Tensor scale = optimizer.control().scale();
  scale.fill(state_.scale);
  optimizer.decide();
  optimizer.update();
  scale.fill(1);  // a step without the scaler has gradients of a loss that nobody multiplied
  return record.report.finite;
}

void GradScaler::update() {
  expect(!records_.empty(), "GradScaler: update was called before any step; nothing is known of the gradients");
  bool finite = true;
  for (const auto& [optimizer, record] : records_) finite &= record.report.finite;
  records_.clear();
  advance_scale(state_, policy_of(options_), finite);
  state_.consecutive_skips = finite ? 0 : state_.consecutive_skips + 1;
  expect(options_.max_consecutive_skips == 0 || state_.consecutive_skips < options_.max_consecutive_skips,
         "GradScaler: {} updates in a row met non-finite gradients and the scale has fallen to {}; lower the learning "
         "rate "
         "or use bfloat16",
         state_.consecutive_skips, state_.scale);
}

GradScaler::State GradScaler::state() const {
  return {state_.scale, state_.growth_tracker, state_.hysteresis_left, state_.consecutive_skips};
}

void GradScaler::load_state(const State& state) {
  expect(records_.empty(), "GradScaler: a state was loaded between step and update");
  state_.scale = state.scale;
  state_.growth_tracker = state.growth_tracker;
  state_.hysteresis_left = state.hysteresis_left;
  state_.consecutive_skips = state.consecutive_skips;
}

}  // namespace tessera
