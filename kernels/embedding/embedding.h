// Rows of a table, selected by token; rows of a second table, selected by position, added in the same pass.
//
//   y_r = table[ids_r] + positions[p_r]
//   p_r = position_ids_r,  or  position_start + r mod position_period
//
// Backward: dtable_v = beta · dtable_v + Σ_{r: ids_r = v} dy_r, in the order of r. The gradient of `positions` is the
// same kernel with position_ids for ids; with a period it is a `Sum` of dy seen as [1, R / period, period · C].
#pragma once

#include <cstdint>

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Looks rows up. Every tensor may have a floating dtype of its own; the elements of a row are neighbours.
struct EmbeddingForward {
  In<2> table;              ///< [V, C]
  In<1> ids;                ///< i32 [R]
  In<2> positions;          ///< [P, C], or absent: nothing is added
  In<1> position_ids;       ///< i32 [R], or absent: positions follow from start and period
  int64_t position_start;   ///< the position of row 0
  int64_t position_period;  ///< rows per sequence; start + period ≤ P
  Out<2> y;                 ///< [R, C]
  int32_t* status;          ///< raised to 1 + r for rows r whose id (or position id) lies outside its table; such a row
                            ///< of y is zero. It lives where the kernel runs and starts as 0.

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

/// Adds rows of dy into the rows of the table they came from. Ids outside [0, V) are passed over. On CUDA rows are
/// sorted by id and the sorted list is summed in fixed pieces: the same bits every time, whatever ids are frequent.
struct EmbeddingBackward {
  In<2> dy;       ///< [R, C], any floating dtype
  In<1> ids;      ///< i32 [R]
  Out<2> dtable;  ///< [V, C], f32 or f64: the type in which the rows are summed
  float beta;     ///< 0: every row is written, zero where no id names it; 1: rows are added to

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
