// Exact attention computed tile by tile (Dao, "FlashAttention-2", 2023, algorithms 1 and 2): the N × M matrix of scores
// never exists. With a row i that stands at key position p = i + M − N:
//
//   s(i, j) = scale · Σ_d q(i, d) · k(j, d)           then softcap, then ALiBi, then −∞ where row i does not see key j
//   lse(i)  = log Σ_j exp s(i, j)
//   P(i, j) = exp(s(i, j) − lse(i))
//   out(i)  = Σ_j Z(i, j) · P(i, j) · v(j)             Z = 1, or with dropout 0 or 1/(1 − dropout)
//
// Backward, with s recomputed:
//
//   delta(i) = Σ_d dout(i, d) · out(i, d)
//   dP(i, j) = Z(i, j) · Σ_d dout(i, d) · v(j, d)
//   dS(i, j) = P(i, j) · (dP(i, j) − delta(i)) · (1 − tanh²(s(i, j) / softcap), where softcap is on)
//   dq(i) = scale · Σ_j dS(i, j) · k(j)      dk(j) = scale · Σ_i dS(i, j) · q(i)      dv(j) = Σ_i Z(i, j) · P(i, j) ·
//   dout(i)
//
// A row that sees nothing has out = 0, lse = −∞ and gradient 0. What a row does not see never reaches it, not even as a
// NaN; a NaN it does see, it keeps. Statistics and sums are f32, or f64 for f64. Query head h reads the key and value
// head h / (H / KvH), whose gradient sums over its group. Results do not depend on the number of threads, and on tile
// sizes only by rounding.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"
#include "kernels/flash_attention/attention_options.h"

namespace tessera {

/// Attention of B × H heads. One floating dtype for all of q, k, v and out; D ≤ 256; any strides, 1 along D; KvH
/// divides H.
struct FlashAttentionForward {
  In<4> q;  ///< [B, N, H, D]
  In<4> k;  ///< [B, M, KvH, D]
  In<4> v;  ///< [B, M, KvH, D]
  AttentionOptions options;
  Out<4> out;  ///< [B, N, H, D]
  Out<3> lse;  ///< [B, H, N], f32, or f64 for f64: natural logarithm; absent: not wanted

  void operator()(Cpu) const;
  void operator()(Cuda) const;

  /// What a call will use. Reads shapes, dtypes and options, never data: views without an address will do.
  AttentionPlan plan(Cpu) const;
  AttentionPlan plan(Cuda) const;
};

/// The gradients of `FlashAttentionForward`, with the same options. Writes dq, dk and dv, whatever they held before.
struct FlashAttentionBackward {
  In<4> dout;  ///< [B, N, H, D]
  In<4> q;     ///< [B, N, H, D]
  In<4> k;     ///< [B, M, KvH, D]
  In<4> v;     ///< [B, M, KvH, D]
  In<4> out;   ///< [B, N, H, D], of the forward
  In<3> lse;   ///< [B, H, N], of the forward
  AttentionOptions options;
  Out<4> dq;  ///< [B, N, H, D]
  Out<4> dk;  ///< [B, M, KvH, D]
  Out<4> dv;  ///< [B, M, KvH, D]

  void operator()(Cpu) const;
  void operator()(Cuda) const;

  /// What a call will use, as in the forward.
  AttentionPlan plan(Cpu) const;
  AttentionPlan plan(Cuda) const;
};

}  // namespace tessera
