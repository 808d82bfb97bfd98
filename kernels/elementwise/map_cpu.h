// Loops that apply a function to neighbouring elements, one first-level cache's worth at a time. The function sees T
// (float or double) whatever the dtypes; inlined, it vectorises.
#pragma once

#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"

namespace tessera {

/// y[i] = f(x[i]).
template <class T, class F>
void map(const In<1>& x, const Out<1>& y, F f) {
  parallel_chunks(x.shape[0], kElementGrain, [&](int64_t begin, int64_t end) {
    T x_buffer[kRun], y_buffer[kRun];
    for (int64_t i = begin; i < end; i += kRun) {
      const int64_t n = std::min(kRun, end - i);
      const T* from = load_run(x, i, n, x_buffer);
      T* to = target_run(y, i, y_buffer);
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) to[k] = f(from[k]);
      store_run(to, y, i, n);
    }
  });
}

/// dx[i] = f(x[i], dy[i]).
template <class T, class F>
void map(const In<1>& x, const In<1>& dy, const Out<1>& dx, F f) {
  parallel_chunks(x.shape[0], kElementGrain, [&](int64_t begin, int64_t end) {
    T x_buffer[kRun], dy_buffer[kRun], dx_buffer[kRun];
    for (int64_t i = begin; i < end; i += kRun) {
      const int64_t n = std::min(kRun, end - i);
      const T* at_x = load_run(x, i, n, x_buffer);
      const T* at_dy = load_run(dy, i, n, dy_buffer);
      T* to = target_run(dx, i, dx_buffer);
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) to[k] = f(at_x[k], at_dy[k]);
      store_run(to, dx, i, n);
    }
  });
}

}  // namespace tessera
