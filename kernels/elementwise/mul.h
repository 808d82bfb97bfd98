// y = a · b, element by element.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Multiplies two floating tensors; shapes, dtypes and aliasing as in `Add`.
struct Mul {
  In<4> a;
  In<4> b;
  Out<4> y;

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
