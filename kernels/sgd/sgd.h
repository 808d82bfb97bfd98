// One step of stochastic gradient descent with momentum and coupled weight decay, as PyTorch's SGD without Nesterov:
//
//     g = gradient_factor·gradient + weight_decay·w
//     u ← momentum·u + g                   (u starts at 0; without a velocity u = g)
//     w ← w − lr·u
//     mirror = w, rounded
//
// lr, gradient_factor and `apply` come from *state. With apply = 0 nothing is written.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/step_state.h"
#include "kernels/common/view.h"

namespace tessera {

/// All views are contiguous; weight, velocity and gradient share one dtype, f32 or f64.
struct SgdStep {
  Out<1> weight;           ///< [N]
  Out<1> velocity;         ///< [N]; absent: momentum is not used
  In<1> gradient;          ///< [N]
  Out<1> mirror;           ///< [N], bf16 or f16; absent: no low-precision copy
  const StepState* state;  ///< lives where the kernel runs
  double weight_decay;
  double momentum;

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
