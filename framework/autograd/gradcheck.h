// Compares the gradients that an op or model computes with numerical ones. Public: people check their own ops with it.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "framework/autograd/autograd.h"

namespace tessera {

struct GradcheckOptions {
  double step = 1e-4;                ///< of the central difference
  double absolute_tolerance = 1e-9;  ///< |a − n| ≤ absolute + relative · max(|a|, |n|), plus the rounding of the
  double relative_tolerance = 1e-6;  ///< difference quotient itself
  Pass::Options pass = {};           ///< training, seed, …: the function is evaluated many times with the same ones
};

/// True when every gradient agrees; `message` then is empty, else it names the first that does not.
struct GradcheckResult {
  bool ok = true;
  std::string message;

  explicit operator bool() const { return ok; }
};

/// Checks `function` at `inputs`, which must be float64. The function may return a tensor of any shape: it is reduced
/// to a scalar with fixed random weights.
GradcheckResult gradcheck(const std::function<Variable(std::span<const Variable>)>& function,
                          std::span<const Tensor> inputs, const GradcheckOptions& options = {});

/// The same for the gradients of `parameters` (float64) in a function of the pass alone.
GradcheckResult gradcheck(const std::function<Variable(const Pass&)>& function,
                          std::span<const ParameterPtr> parameters, const GradcheckOptions& options = {});

}  // namespace tessera
