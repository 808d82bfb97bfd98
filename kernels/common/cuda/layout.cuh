// Loops over tensors of one shape and any strides: axes that all of them step through evenly become one, and a thread
// handles a run of neighbours along the last axis.
#pragma once

#include "kernels/common/cuda/elements.cuh"

namespace tessera {

/// `Tensors` tensors of one shape, at most five axes, the last the fastest.
template <int Tensors>
struct Layout {
  int64_t shape[5] = {1, 1, 1, 1, 1};
  int64_t strides[Tensors][5] = {};
  int64_t runs = 0;  ///< runs of kVector along the last axis, over all lines

  /// Drops axes of extent 1 and joins neighbours.
  template <size_t Rank>
  Layout(const std::array<int64_t, Rank>& extents, const std::array<const std::array<int64_t, Rank>*, Tensors>& steps) {
    int last = 5;
    for (int axis = static_cast<int>(Rank) - 1; axis >= 0; --axis) {
      if (extents[axis] == 1) continue;
      bool joins = last < 5;
      for (int t = 0; t < Tensors && joins; ++t) joins = (*steps[t])[axis] == strides[t][last] * shape[last];
      if (joins) {
        shape[last] *= extents[axis];
        continue;
      }
      shape[--last] = extents[axis];
      for (int t = 0; t < Tensors; ++t) strides[t][last] = (*steps[t])[axis];
    }
    runs = shape[0] * shape[1] * shape[2] * shape[3] * pieces_of(shape[4], kVector);
  }

  /// Whether all elements of all tensors are neighbours in one order.
  bool is_one_run() const {
    for (int t = 0; t < Tensors; ++t) {
      if (strides[t][4] != 1 && shape[4] != 1) return false;
    }
    return shape[0] * shape[1] * shape[2] * shape[3] == 1;
  }

  /// Where run `run` begins in each tensor; its length is returned.
  __device__ int locate(int64_t run, int64_t (&offset)[Tensors]) const {
    const int64_t pieces = (shape[4] + kVector - 1) / kVector;
    Division line{0, run};
    if (runs != pieces) line = divide(run, pieces);  // more than one line
    const int64_t begin = line.rest * kVector;
    for (int t = 0; t < Tensors; ++t) offset[t] = begin * strides[t][4];
    for (int axis = 3; axis >= 0 && line.quotient != 0; --axis) {
      line = divide(line.quotient, shape[axis]);
      for (int t = 0; t < Tensors; ++t) offset[t] += line.rest * strides[t][axis];
    }
    return run_length(shape[4] - begin);
  }
};

}  // namespace tessera
