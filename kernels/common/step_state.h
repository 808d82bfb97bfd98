// The one block of numbers that changes from step to step. It lives where the kernels run: they read it through a
// pointer, the step's last scan advances it, and the host only ever copies it.
#pragma once

#include <cstdint>

namespace tessera {

/// Two counters: `iteration` always advances (it selects data, keys randomness, names checkpoints); `applied` advances
/// only when weights change (it drives the schedule and the bias correction).
struct StepState {
  int64_t iteration = 0;          ///< steps taken, skipped ones included
  int64_t applied = 0;            ///< steps that changed the weights
  float scale = 1;                ///< the loss of this step was multiplied by it
  int32_t growth_tracker = 0;     ///< finite steps since the scale last changed
  int32_t hysteresis_left = 1;    ///< non-finite steps to go until the scale backs off
  int32_t consecutive_skips = 0;  ///< skipped steps in a row
  double learning_rate = 0;       ///< of this step, after the schedule
  double gradient_factor = 1;     ///< unscale × clip, folded into the optimizer
  double beta1_power = 1;         ///< beta1^applied
  double beta2_power = 1;         ///< beta2^applied
  double loss = 0;                ///< mean loss per token of the step, reduced over ranks, unscaled
  double gradient_norm = 0;       ///< L2 norm before clipping, unscaled
  int32_t apply = 1;              ///< 0: the step is skipped, the optimizer leaves everything as it is
  int32_t held = 0;               ///< 1: nothing happens any more until somebody has looked at the skipped step
};
static_assert(sizeof(StepState) == 88);

}  // namespace tessera
