// Dropout (Srivastava et al., 2014) whose mask is recomputed, never stored:
//
//   w(r, c) = 16 bits, number c mod 8 of philox(key, {low and high half of first_row + r, c / 8, 0}), lower halves
//   first y       = residual + (w ≥ t ? x / (1 − t/2¹⁶) : 0)    where t = p · 2¹⁶ to the nearest integer
//
// 32 bits for each element would cost a GPU more time than the memory does. The backward is the same kernel on dy,
// without the residual.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/common/exec.h"
#include "kernels/common/philox.h"
#include "kernels/common/view.h"

namespace tessera {

/// The probability as it is kept to: in steps of 2⁻¹⁶, and below 1.
struct DropoutRule {
  uint32_t threshold;  ///< of 2¹⁶: draws below it are dropped
  double factor;       ///< of what is kept

  explicit DropoutRule(float p)
      : threshold(static_cast<uint32_t>(std::min(std::lround(p * 65536), 65535L))),
        factor(65536.0 / (65536 - threshold)) {}
};

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
