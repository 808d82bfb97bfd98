// The end of a step, decided where the gradients are. With norm = √squared_norm / scale:
//
//     finite:  applied += 1, lr from the schedule, gradient_factor = min(1, clip / (norm + 1e-6)) / scale, apply = 1;
//              the scale grows after growth_interval finite steps in a row
//     else:    apply = 0; the scale backs off after `hysteresis` such steps
//
// and iteration += 1 either way. With hold_after_skip a skipped step also sets `held`, and steps that were enqueued
// behind it change nothing, so that the host, which hears of it later, finds everything as the skipped step left it.
// The scale's rules are those of PyTorch's GradScaler, with bounds and hysteresis added.
#pragma once

#include <cmath>

#include "kernels/common/exec.h"
#include "kernels/common/host_device.h"
#include "kernels/common/step_state.h"
#include "kernels/common/trigonometry.h"
#include "kernels/gradient_scan/gradient_scan.h"

namespace tessera {

/// The learning rate over applied steps: linear warm-up, then one of three shapes down to min_lr at decay_iters.
struct Schedule {
  enum class Kind : int32_t { constant, linear, cosine };
  Kind kind = Kind::constant;
  double learning_rate = 1e-3;
  double min_lr = 0;
  int64_t warmup_iters = 0;
  int64_t decay_iters = 0;  ///< linear and cosine need one
};

/// The rate of the step that follows `applied` applied ones; nanoGPT's formula: lr·(applied + 1)/(warmup + 1) in the
/// warm-up.
TESSERA_HOST_DEVICE inline double learning_rate_at(const Schedule& schedule, int64_t applied) {
  const auto step = static_cast<double>(applied);
  const auto warmup = static_cast<double>(schedule.warmup_iters);
  if (step < warmup) return schedule.learning_rate * (step + 1) / (warmup + 1);
  if (schedule.kind == Schedule::Kind::constant) return schedule.learning_rate;
  const auto end = static_cast<double>(schedule.decay_iters);
  if (step >= end) return schedule.min_lr;
  const double progress = (step - warmup) / (end - warmup);
  const double left = schedule.kind == Schedule::Kind::linear ? 1 - progress : 0.5 * (1 + cos_pi(progress));
  return schedule.min_lr + left * (schedule.learning_rate - schedule.min_lr);
}

/// How the loss scale moves. The first five are PyTorch's.
struct ScalePolicy {
  bool dynamic = false;  ///< false: the scale stays where it is
  float growth_factor = 2;
  float backoff_factor = 0.5f;
  int32_t growth_interval = 2000;
  int32_t hysteresis = 1;  ///< non-finite steps before it backs off
  float min_scale = 0;
  float max_scale = 3.4028234663852886e38f;
};

/// Everything that a step's end depends on besides the gradients.
struct StepPolicy {
  Schedule schedule = {};
  ScalePolicy scaling = {};
  double grad_clip = 0;  ///< largest L2 norm of the whole gradient; 0: no clipping
  double beta1 = 0;      ///< of the optimizer, for the bias correction
  double beta2 = 0;
  bool hold_after_skip = false;  ///< steps behind a skipped one are void until `held` is cleared
};

/// Moves scale, tracker and hysteresis on by one step. The scale grows only to a finite value.
TESSERA_HOST_DEVICE inline void advance_scale(StepState& state, const ScalePolicy& policy, bool finite) {
  if (!policy.dynamic) return;
  if (!finite) {
    state.growth_tracker = 0;
    if (--state.hysteresis_left > 0) return;
    state.scale = fmaxf(state.scale * policy.backoff_factor, policy.min_scale);
    state.hysteresis_left = policy.hysteresis;
    return;
  }
  state.hysteresis_left = policy.hysteresis;
  if (++state.growth_tracker < policy.growth_interval) return;
  const float grown = state.scale * policy.growth_factor;
  if (grown <= policy.max_scale) state.scale = grown;  // false for infinity
  state.growth_tracker = 0;
}

TESSERA_HOST_DEVICE inline void advance_step(StepState& state, const ScanResult& scan, const StepPolicy& policy) {
  if (state.held != 0) return;
  state.iteration += 1;
  state.gradient_norm = sqrt(scan.squared_norm) / static_cast<double>(state.scale);
  state.learning_rate = learning_rate_at(policy.schedule, state.applied);
  state.apply = scan.finite;
  if (scan.finite != 0) {
    state.applied += 1;
    state.consecutive_skips = 0;
    state.beta1_power *= policy.beta1;
    state.beta2_power *= policy.beta2;
    const double clip = policy.grad_clip > 0 ? fmin(1.0, policy.grad_clip / (state.gradient_norm + 1e-6)) : 1.0;
    state.gradient_factor = clip / static_cast<double>(state.scale);
  } else {
    state.consecutive_skips += 1;
    state.held = policy.hold_after_skip ? 1 : 0;
  }
  advance_scale(state, policy.scaling, scan.finite != 0);
}

struct AdvanceStep {
  const ScanResult* scan;  ///< of all gradients, after they were reduced over ranks; lives where the kernel runs
  StepPolicy policy;
  StepState* state;  ///< lives where the kernel runs

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
