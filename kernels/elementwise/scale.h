// y = factor · x.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Multiplies by a number known to the host. x and y are contiguous, of any floating dtypes; y may be the memory of x
/// where the dtypes agree.
struct Scale {
  In<1> x;
  double factor;
  Out<1> y;

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
