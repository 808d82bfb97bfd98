// Kernels that apply a function to neighbouring elements, eight per thread. The function sees T (float or double).
#pragma once

#include "kernels/common/cuda/elements.cuh"

namespace tessera {

template <class T, class Function>
__global__ void map_kernel(Elements<1> x, Elements<1> y, Function f) {
  const int64_t i = grid_thread() * kVector;
  if (i >= x.shape[0]) return;
  const int n = run_length(x.shape[0] - i);
  T values[kVector];
  load_run(x, i, n, values);
#pragma unroll
  for (int k = 0; k < kVector; ++k) values[k] = f(values[k]);
  store_run(y, i, n, values);
}

template <class T, class Function>
__global__ void map_backward_kernel(Elements<1> x, Elements<1> dy, Elements<1> dx, Function f) {
  const int64_t i = grid_thread() * kVector;
  if (i >= x.shape[0]) return;
  const int n = run_length(x.shape[0] - i);
  T values[kVector], gradients[kVector];
  fetch_run(x, i, n, values);
  fetch_run(dy, i, n, gradients);
  widen_run(x.dtype, values);
  widen_run(dy.dtype, gradients);
#pragma unroll
  for (int k = 0; k < kVector; ++k) values[k] = f(values[k], gradients[k]);
  store_run(dx, i, n, values);
}

/// The grid in which every thread handles kVector of n elements.
inline Grid vector_grid(int64_t n) { return {.x = pieces_of(n, 256 * kVector), .threads = 256}; }

/// y[i] = f(x[i]).
template <class T, class Function>
void map_on_device(const char* name, Cuda cuda, const In<1>& x, const Out<1>& y, Function f) {
  launch_grid(name, map_kernel<T, Function>, cuda, vector_grid(x.shape[0]), x, y, f);
}
/// dx[i] = f(x[i], dy[i]).
template <class T, class Function>
void map_on_device(const char* name, Cuda cuda, const In<1>& x, const In<1>& dy, const Out<1>& dx, Function f) {
  launch_grid(name, map_backward_kernel<T, Function>, cuda, vector_grid(x.shape[0]), x, dy, dx, f);
}

/// An activation, and its backward.
template <class Function>
struct Activate {
  template <class T>
  __device__ T operator()(T x) const {
    return Function::value(x);
  }
  template <class T>
  __device__ T operator()(T x, T dy) const {
    return dy * Function::slope(x);
  }
};

}  // namespace tessera
