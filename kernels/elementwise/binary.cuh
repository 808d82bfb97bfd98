// y = f(a, b) for any three layouts of one shape.
#pragma once

#include "kernels/common/cuda/layout.cuh"

namespace tessera {

template <class T, class Function>
__global__ void binary_kernel(Elements<4> a, Elements<4> b, Elements<4> y, Layout<3> layout, Function f) {
  const int64_t run = grid_thread();
  if (run >= layout.runs) return;
  int64_t offset[3];
  const int n = layout.locate(run, offset);
  T left[kVector], right[kVector];
  fetch_run(a, offset[0], n, left, layout.strides[0][4]);
  fetch_run(b, offset[1], n, right, layout.strides[1][4]);
  widen_run(a.dtype, left);
  widen_run(b.dtype, right);
#pragma unroll
  for (int k = 0; k < kVector; ++k) left[k] = f(left[k], right[k]);
  store_run(y, offset[2], n, left, layout.strides[2][4]);
}

template <class Function>
void binary_on_device(const char* name, Cuda cuda, const In<4>& a, const In<4>& b, const Out<4>& y, Function f) {
  const Layout<3> layout(y.shape, {&a.strides, &b.strides, &y.strides});
  select_compute(
      [&]<class T>() {
        launch_grid(name, binary_kernel<T, Function>, cuda, {.x = pieces_of(layout.runs, 256)}, a, b, y, layout, f);
      },
      y.dtype);
}

}  // namespace tessera
