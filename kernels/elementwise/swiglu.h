// The gate of a SwiGLU feed-forward (Shazeer, "GLU Variants Improve Transformer", 2020, eq. 5), both halves from one
// product: gate_up = [gate | up], with s = silu(gate) = gate · σ(gate).
//
//   y = s · up        d_gate = dy · up · σ(gate) · (1 + gate · (1 − σ(gate)))        d_up = dy · s
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Gates the second half of each row by SiLU of the first. Rows may lie at any stride; the elements of a row are
/// neighbours.
struct SwiGlu {
  In<2> gate_up;  ///< [R, 2F], gate first
  Out<2> y;       ///< [R, F]

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

/// Both halves of the gradient from the forward's input.
struct SwiGluBackward {
  In<2> gate_up;     ///< [R, 2F]
  In<2> dy;          ///< [R, F]
  Out<2> d_gate_up;  ///< [R, 2F]; may be the memory of gate_up where dtype and strides agree

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
