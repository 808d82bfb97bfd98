// The output of a norm, recomputed from what it saved instead of being stored for backward:
//
//   y = (x − mean) · rstd · weight + bias
//
// Bit for bit what LayerNormForward (with mean) or RmsNormForward (mean absent) wrote.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Applies saved statistics to rows; dtypes and strides as in layer_norm.h.
struct Normalize {
  In<2> x;       ///< [R, C], what was normalised
  In<1> mean;    ///< [R], or absent: 0 (RMS norm)
  In<1> rstd;    ///< [R], or absent: 1
  In<1> weight;  ///< [C], or absent: 1
  In<1> bias;    ///< [C], or absent: 0
  Out<2> y;      ///< [R, C]

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
