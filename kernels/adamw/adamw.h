// One AdamW step over a range of parameters (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019,
// algorithm 2, with the learning rate multiplying the decay as PyTorch does):
//
//     g = gradient_factor·gradient
//     w ← w − lr·weight_decay·w
//     m ← beta1·m + (1 − beta1)·g          v ← beta2·v + (1 − beta2)·g²
//     w ← w − lr/(1 − beta1_power)·m / (√(v/(1 − beta2_power)) + epsilon)
//     mirror = w, rounded
//
// A bf16 weight has no master: w is computed in f32 and rounded stochastically (kernels/common/stochastic_rounding.h).
//
// lr, gradient_factor, the beta powers (beta^applied, this step included) and `apply` come from *state. With apply = 0
// nothing is written: weights and moments keep their bits, and the mirror stays that of the weights.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/step_state.h"
#include "kernels/common/view.h"

namespace tessera {

/// All views are contiguous; weight, moments and gradient share one dtype, f32 or f64; or the weight is bf16 and the
/// others are f32.
struct AdamWStep {
  Out<1> weight;           ///< [N]
  Out<1> moment1;          ///< [N], mean of the gradients
  Out<1> moment2;          ///< [N], mean of their squares
  In<1> gradient;          ///< [N]
  Out<1> mirror;           ///< [N], bf16 or f16; absent: no low-precision copy
  const StepState* state;  ///< lives where the kernel runs
  double weight_decay;
  double beta1;
  double beta2;
  double epsilon;
  uint64_t rounding_key = 0;  ///< of the random bits that a bf16 weight is rounded with
  int64_t first = 0;          ///< the index of element 0 among all weights, a multiple of kRoundingBlock

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
