// Layer normalisation over the last axis (Ba et al., "Layer Normalization", 2016, eq. 4), residual add fused.
//
//   s     = x + residual
//   mean  = Σ_c s / C          rstd = 1 / √(Σ_c (s − mean)² / C + ε)
//   ŝ     = (s − mean) · rstd
//   y     = ŝ · weight + bias
//
// Backward, with g = dy · weight and ⟨·⟩ the mean over c:
//
//   dx      = rstd · (g − ⟨g⟩ − ŝ · ⟨g · ŝ⟩) + dsum
//   dweight = Σ_r dy · ŝ        dbias = Σ_r dy
//
// Every tensor may have a dtype of its own (f32 residual stream in, compute dtype out). Arithmetic, statistics, weight
// and bias are f32, or f64 when x is f64. Rows may lie at any stride; the elements of a row are neighbours.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Normalises each row of x + residual.
struct LayerNormForward {
  In<2> x;         ///< [R, C]
  In<2> residual;  ///< [R, C], or absent: s = x
  In<1> weight;    ///< [C], or absent: 1
  In<1> bias;      ///< [C], or absent: 0
  double epsilon;  ///< ε
  Out<2> sum;      ///< [R, C], or absent: receives s; what is normalised is then s as rounded to this dtype
  Out<2> y;        ///< [R, C]
  Out<1> mean;     ///< [R], or absent: not wanted
  Out<1> rstd;     ///< [R], or absent: not wanted

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

/// The gradients of `LayerNormForward`; `dx` is that of both x and residual. dweight and dbias sum over fixed chunks of
/// rows, so they do not depend on the number of threads.
struct LayerNormBackward {
  In<2> x;             ///< [R, C], what was normalised: the `sum` of the forward, or its x when there was no residual
  In<1> weight;        ///< [C], or absent: 1
  In<1> mean;          ///< [R], or absent: 0
  In<1> rstd;          ///< [R]
  In<2> dy;            ///< [R, C]
  In<2> dsum;          ///< [R, C], or absent: the gradient that reaches s from elsewhere
  Out<2> dx;           ///< [R, C]; may be the memory of dsum or dy where dtype and strides agree
  Out<1> dweight;      ///< [C], or absent: not wanted
  float dweight_beta;  ///< dweight = dweight_beta · dweight + Σ; 0 writes without reading
  Out<1> dbias;        ///< [C], or absent: not wanted
  float dbias_beta;    ///< likewise
  bool normalized = false;  ///< x holds ŝ itself; mean is absent then

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
