// Root-mean-square normalisation over the last axis (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019,
// eq. 4), residual add fused.
//
//   s    = x + residual
//   rstd = 1 / √(Σ_c s² / C + ε)
//   ŝ    = s · rstd
//   y    = ŝ · weight
//
// Backward, with g = dy · weight and ⟨·⟩ the mean over c:
//
//   dx      = rstd · (g − ŝ · ⟨g · ŝ⟩) + dsum
//   dweight = Σ_r dy · ŝ
//
// Dtypes and strides as in layer_norm.h.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Scales each row of x + residual to unit root mean square.
struct RmsNormForward {
  In<2> x;         ///< [R, C]
  In<2> residual;  ///< [R, C], or absent: s = x
  In<1> weight;    ///< [C], or absent: 1
  double epsilon;  ///< ε
  Out<2> sum;      ///< [R, C], or absent: receives s; what is normalised is then s as rounded to this dtype
  Out<2> y;        ///< [R, C]
  Out<1> rstd;     ///< [R], or absent: not wanted

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

/// The gradients of `RmsNormForward`; `dx` is that of both x and residual.
struct RmsNormBackward {
  In<2> x;             ///< [R, C], what was normalised: the `sum` of the forward, or its x when there was no residual
  In<1> weight;        ///< [C], or absent: 1
  In<1> rstd;          ///< [R]
  In<2> dy;            ///< [R, C]
  In<2> dsum;          ///< [R, C], or absent: the gradient that reaches s from elsewhere
  Out<2> dx;           ///< [R, C]; may be the memory of dsum or dy where dtype and strides agree
  Out<1> dweight;      ///< [C], or absent: not wanted
  float dweight_beta;  ///< dweight = dweight_beta · dweight + Σ; 0 writes without reading
  bool normalized = false;  ///< x holds ŝ itself

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
