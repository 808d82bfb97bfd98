// Batched matrix product with everything that a linear layer fuses into it:
//
//     p = a·b + bias                       pre_activation = p
//     c = activation(p) + add + beta·c
//
// Products are summed in f32 (f64 for f64). The activation reads p as rounded to c's dtype, with or without
// pre_activation, so a backward pass that starts from the stored p sees what the forward pass saw; on a GPU gelu_tanh
// with pre_activation is part of the product and reads p before it is rounded.
#pragma once

#include "kernels/common/activation.h"
#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Dtypes: a and b alike. f32 with c f32, f64 with c f64, or 16-bit (f16, bf16) with c of the same dtype or f32.
/// Strides: a and b have unit stride in one of their last two dimensions and any stride in the other, so transposed
/// views are free; everything else has unit stride in N. A batch stride of 0 repeats one matrix (not for c or
/// pre_activation). c and pre_activation overlap nothing else. Any extent may be 0: a sum over K = 0 is 0.
struct MatMul {
  In<3> a;                ///< [B, M, K]
  In<3> b;                ///< [B, K, N]
  In<1> bias;             ///< [N], f32 or a's dtype (f64 for f64); absent: 0
  In<3> add;              ///< [B, M, N], any floating dtype, e.g. an f32 residual; absent: 0
  Activation activation;  ///< applied to a·b + bias
  Out<3> pre_activation;  ///< [B, M, N], c's dtype; absent: not kept; only with an activation
  Out<3> c;               ///< [B, M, N]
  float beta;             ///< 0: c is written (whatever it held, NaN too), 1: accumulated into

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
