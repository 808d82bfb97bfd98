// Sums along the middle axis:
//
//   y[o, i] = beta · y[o, i] + scale · Σ_n x[o, n, i]
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Covers bias gradients (outer = 1, n = rows, inner = width), row sums (inner = 1), full sums (outer = inner = 1) and
/// the backward of a broadcast. x may be strided in any way; y has any floating dtype, whatever that of x. Sums are
/// formed over fixed chunks of n in f32 and the chunks added in order in f64 (all f64 when x or y is), so the result
/// does not depend on the number of threads and long columns lose no digits.
struct Sum {
  In<3> x;       ///< [outer, n, inner]
  double scale;  ///< 1 for a sum, 1/n for a mean
  float beta;    ///< 0 writes y without reading it, 1 adds to it
  Out<2> y;      ///< [outer, inner]

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
