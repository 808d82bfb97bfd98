// Softmax cross-entropy with integer targets, without a tensor of probabilities.
//
//   lse_r  = log Σ_v exp(logits_rv)
//   loss_r = lse_r − logits_r[t_r]                                      0 where t_r = ignore_index
//   dlogits_rv = dloss · scale · (exp(logits_rv − lse_r) − [v = t_r])   0 where t_r = ignore_index
//
// The gradient may be formed together with the loss, so that a row of logits is read once; what will arrive as dloss
// must be known then, and is put right afterwards if something else arrived.
//
// Logits have any floating dtype; loss and lse are f32, or f64 when the logits are. Rows may lie at any stride; the
// elements of a row are neighbours.
#pragma once

#include <cstdint>

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// The loss of each row and what backward needs of it, or the gradient itself. On CUDA a row waits in shared memory
/// between the two where a block may have that much (50,304 logits of 16 bits take 98 KiB); longer ones are read twice.
struct CrossEntropyForward {
  In<2> logits;          ///< [R, V]
  In<1> targets;         ///< i32 [R]
  int32_t ignore_index;  ///< rows with this target count nothing; it need not lie in [0, V)
  Out<1> loss;           ///< [R]
  Out<1> lse;            ///< [R]
  int32_t* status;       ///< raised to 1 + r for rows r whose target is neither in [0, V) nor ignore_index; such a row
                         ///< is treated as ignored. It lives where the kernel runs and starts as 0.
  In<0> dloss = {};      ///< what will arrive, as in the backward
  double scale = 1;      ///< as in the backward
  Out<2> dlogits = {};   ///< [R, V], or absent: not wanted now; may be the memory of logits, as in the backward

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

/// The gradient of Σ_r loss_r, times two factors: one known on the device, one on the host.
struct CrossEntropyBackward {
  In<2> logits;          ///< [R, V]
  In<1> targets;         ///< i32 [R]
  int32_t ignore_index;  ///< as in the forward
  In<1> lse;             ///< [R]
  In<0> dloss;           ///< one f32 or f64 where the kernel runs, or absent: 1
  double scale;          ///< a factor from the host, e.g. 1 / (number of counted tokens)
  Out<2> dlogits;        ///< [R, V]; may be the memory of logits where dtype and strides agree

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

/// dlogits · arriving / expected; nothing is read or written where the two are equal.
struct CrossEntropyCorrection {
  In<0> expected;  ///< the dloss that dlogits was formed with, or absent: 1
  In<0> arriving;  ///< one f32 or f64 where the kernel runs
  Out<2> dlogits;  ///< [R, V]

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
