// The sigmoid linear unit, with σ(x) = 1 / (1 + e^−x):
//
//   y = x · σ(x)        dx = dy · σ(x) · (1 + x · (1 − σ(x)))
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// SiLU of contiguous tensors; y may be the memory of x where the dtypes agree.
struct Silu {
  In<1> x;
  Out<1> y;

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

/// dx from the forward's input; dx may be the memory of x or dy where the dtypes agree.
struct SiluBackward {
  In<1> x;
  In<1> dy;
  Out<1> dx;

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
