// y = f(a, b) for any three layouts of one shape: axes that all three step through evenly become one, then each run
// along the last axis is one vectorised loop.
#pragma once

#include <algorithm>
#include <array>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"

namespace tessera {

namespace detail {

/// The extents of four axes, the last the fastest, and the strides of a, b and y along them.
struct BinaryLoops {
  std::array<int64_t, 4> shape;
  std::array<std::array<int64_t, 4>, 3> strides;
};

/// Drops axes of extent 1 and joins neighbours; joined loops fill the last axes, the rest have extent 1.
inline BinaryLoops joined_loops(const In<4>& a, const In<4>& b, const Out<4>& y) {
  const std::array<const std::array<int64_t, 4>*, 3> strides{&a.strides, &b.strides, &y.strides};
  BinaryLoops loops{{1, 1, 1, 1}, {}};
  int last = 4;  // the axis of `loops` filled most recently
  for (int axis = 3; axis >= 0; --axis) {
    const int64_t extent = y.shape[axis];
    if (extent == 1) continue;
    bool joins = last < 4;
    for (int t = 0; t < 3 && joins; ++t) joins = (*strides[t])[axis] == loops.strides[t][last] * loops.shape[last];
    if (joins) {
      loops.shape[last] *= extent;
    } else {
      loops.shape[--last] = extent;
      for (int t = 0; t < 3; ++t) loops.strides[t][last] = (*strides[t])[axis];
    }
  }
  return loops;
}

}  // namespace detail

/// `f` sees T (float or double) whatever the dtypes.
template <class T, class F>
void map_binary(const In<4>& a, const In<4>& b, const Out<4>& y, F f) {
  const detail::BinaryLoops loops = detail::joined_loops(a, b, y);
  const int64_t n = loops.shape[3], pieces = (n + kElementGrain - 1) / kElementGrain;
  const int64_t lines = loops.shape[0] * loops.shape[1] * loops.shape[2];
  parallel_for(lines * pieces, row_grain(n), [&](int64_t task) {
    const int64_t line = task / pieces, begin = task % pieces * kElementGrain;
    const std::array<int64_t, 4> index{line / loops.shape[2] / loops.shape[1], line / loops.shape[2] % loops.shape[1],
                                       line % loops.shape[2], begin};
    std::array<int64_t, 3> offset{};
    for (int t = 0; t < 3; ++t)
      for (int axis = 0; axis < 4; ++axis) offset[t] += index[axis] * loops.strides[t][axis];
    const int64_t a_step = loops.strides[0][3], b_step = loops.strides[1][3], y_step = loops.strides[2][3];
    T a_buffer[kRun], b_buffer[kRun], y_buffer[kRun];
    const int64_t length = std::min(kElementGrain, n - begin);
    for (int64_t i = 0; i < length; i += kRun) {
      const int64_t count = std::min(kRun, length - i);
      const T* from_a = load_run(a, offset[0] + i * a_step, count, a_buffer, a_step);
      const T* from_b = load_run(b, offset[1] + i * b_step, count, b_buffer, b_step);
      T* to = target_run(y, offset[2] + i * y_step, y_buffer, y_step);
#pragma omp simd
      for (int64_t k = 0; k < count; ++k) to[k] = f(from_a[k], from_b[k]);
      store_run(to, y, offset[2] + i * y_step, count, y_step);
    }
  });
}

}  // namespace tessera
