// index[r] = the column of the largest element of row r.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// The lowest such column where several are equal; a NaN counts as larger than every number. Rows may lie at any
/// stride; the elements of a row are neighbours.
struct ArgMax {
  In<2> x;       ///< [R, C], floating, C ≥ 1
  Out<1> index;  ///< i32 [R]

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
