// Dropout (Srivastava et al., 2014) whose mask is recomputed, never stored:
//
//   w(r, c) = word c mod 4 of philox(key, {low and high half of first_row + r, c / 4, 0})
//   y       = residual + (w ≥ ⌊p · 2³²⌋ ? x / (1 − p) : 0)
//
// The backward is the same kernel on dy, without the residual.
#pragma once

#include <cstdint>

#include "kernels/common/exec.h"
#include "kernels/common/philox.h"
#include "kernels/common/view.h"

namespace tessera {

/// Drops elements of x with probability p. Every tensor may have a floating dtype of its own; rows may lie at any
/// stride, the elements of a row are neighbours. y may be the memory of x or residual where dtype and strides agree.
struct Dropout {
  In<2> x;            ///< [R, C]
  In<2> residual;     ///< [R, C], or absent: 0
  float p;            ///< in [0, 1)
  RandomKey key;      ///< of (seed, iteration, site)
  int64_t first_row;  ///< the index of row 0 in the global batch, so that ranks agree
  Out<2> y;           ///< [R, C]

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
