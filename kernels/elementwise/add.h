// y = a + b, element by element.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Sums two floating tensors; each may have a dtype of its own, the sum is formed in f32 (f64 when y is f64).
/// All three have the shape of y: an operand is broadcast along an axis by stride 0. y may be the memory of an operand
/// that is laid out like it.
struct Add {
  In<4> a;
  In<4> b;
  Out<4> y;

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
