// Two precisions, devices or other settings side by side, layer by layer: where does the second lose digits?
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainers/config/config.h"

namespace tessera {

/// A relative error ‖x − y‖₂ / ‖x‖₂ and how large it may be.
struct BoundedError {
  double error = 0;
  double limit = 0;

  bool within() const { return error <= limit; }  // false for NaN
};

/// How far side b is from side a in what one op of a layer computes, at the worst of the compared steps.
struct LayerError {
  std::string layer;
  std::string op;
  BoundedError activation;
  std::optional<BoundedError> gradient = {};  ///< of the op's parameters, where it has some

  bool within() const { return activation.within() && (!gradient || gradient->within()); }
};

/// Compares `steps` steps over the first micro-batch of each. Every step starts from a's weights, so that errors do not
/// pile up over steps. The yardstick is a plain run in b's dtype: a's arithmetic with the weights, and every result
/// that b keeps in that dtype, rounded to it. b may be off by twice as much as that run in an activation, and three
/// times in a gradient; 1e-5 is always allowed. `losses` gets a's and b's of each step.
/// Throws UsageError unless a computes in float32 or float64, and Error if a and b are different models.
std::vector<LayerError> compare_steps(const Config& a, const Config& b, int64_t steps,
                                      std::vector<std::pair<double, double>>& losses);

/// `tessera compare CONFIG --a.KEY=VALUE --b.KEY=VALUE [--steps=K] [--KEY=VALUE]`; returns 1 where a limit is passed.
int run_compare(std::span<const std::string> arguments);

}  // namespace tessera
