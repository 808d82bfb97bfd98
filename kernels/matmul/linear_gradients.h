// The products of a linear layer's backward with what belongs to them, y = activation(p), p = x·Wᵀ + b:
//
//     LinearWeightGradient       dW = beta·dW + dyᵀ·x            db = beta·db + Σ_r dy
//     LinearActivationGradient   dp = (dy·W) ∘ activation'(p)    x = activation(p)
//
// The second is the gradient of the layer below: W and dy are those of the layer that reads activation(p), and for
// whose weight gradient x is made again. Dtypes and strides as in matmul.h; sums are f32, or f64 for f64.
#pragma once

#include "kernels/common/activation.h"
#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

struct LinearWeightGradient {
  In<2> dy;            ///< [R, N]
  In<2> x;             ///< [R, C], dy's dtype
  Out<2> dweight;      ///< [N, C]
  float dweight_beta;  ///< 0: dweight is written, whatever it held
  Out<1> dbias;        ///< [N], any floating dtype; absent: not wanted
  float dbias_beta;    ///< likewise

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

struct LinearActivationGradient {
  In<2> dy;               ///< [R, N]
  In<2> weight;           ///< [N, C], dy's dtype
  In<2> pre;              ///< [R, C], dy's dtype, contiguous: p
  Activation activation;  ///< not `none`
  Out<2> dpre;            ///< [R, C], dy's dtype, contiguous
  Out<2> x;               ///< [R, C], dy's dtype, contiguous; absent: not wanted

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
