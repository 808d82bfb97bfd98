#include "kernels/common/cuda/activation.cuh"
#include "kernels/common/cuda/elements.cuh"
#include "kernels/elementwise/swiglu.h"

namespace tessera {
namespace {

/// Where a thread works: a run of columns of one row.
struct Place {
  int64_t row, column;
  int length;
};
__device__ Place place_of(int64_t rows, int64_t width) {
  const int64_t pieces = (width + kVector - 1) / kVector, task = grid_thread();
  const auto [row, piece] = divide(task, pieces);
  return {row, piece * kVector, task < rows * pieces ? run_length(width - piece * kVector) : 0};
}
Grid grid_of(int64_t rows, int64_t width) {
  return {.x = pieces_of(rows * pieces_of(width, kVector), 256), .threads = 256};
}

template <class T>
__global__ void swiglu_kernel(Elements<2> gate_up, Elements<2> y) {
  const Place at = place_of(y.shape[0], y.shape[1]);
  if (at.length == 0) return;
  T gate[kVector], up[kVector];
  fetch_run(gate_up, at.row * gate_up.strides[0] + at.column, at.length, gate);
  fetch_run(gate_up, at.row * gate_up.strides[0] + y.shape[1] + at.column, at.length, up);
  widen_run(gate_up.dtype, gate);
  widen_run(gate_up.dtype, up);
#pragma unroll
  for (int k = 0; k < kVector; ++k) up[k] *= SiluFunction::value(gate[k]);
  store_run(y, at.row * y.strides[0] + at.column, at.length, up);
}

template <class T>
__global__ void swiglu_backward_kernel(Elements<2> gate_up, Elements<2> dy, Elements<2> d_gate_up) {
  const int64_t width = dy.shape[1];
  const Place at = place_of(dy.shape[0], width);
  if (at.length == 0) return;
  T gate[kVector], up[kVector], gradient[kVector];
  fetch_run(gate_up, at.row * gate_up.strides[0] + at.column, at.length, gate);
  fetch_run(gate_up, at.row * gate_up.strides[0] + width + at.column, at.length, up);
  fetch_run(dy, at.row * dy.strides[0] + at.column, at.length, gradient);
  widen_run(gate_up.dtype, gate);
  widen_run(gate_up.dtype, up);
  widen_run(dy.dtype, gradient);
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    up[k] *= gradient[k] * SiluFunction::slope(gate[k]);
    gradient[k] *= SiluFunction::value(gate[k]);
  }
  store_run(d_gate_up, at.row * d_gate_up.strides[0] + at.column, at.length, up);
  store_run(d_gate_up, at.row * d_gate_up.strides[0] + width + at.column, at.length, gradient);
}

}  // namespace

void SwiGlu::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() { launch_grid("swiglu", swiglu_kernel<T>, cuda, grid_of(y.shape[0], y.shape[1]), gate_up, y); },
      gate_up.dtype, y.dtype);
}

void SwiGluBackward::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() {
        launch_grid("swiglu_backward", swiglu_backward_kernel<T>, cuda, grid_of(dy.shape[0], dy.shape[1]), gate_up, dy,
                    d_gate_up);
      },
      gate_up.dtype, dy.dtype, d_gate_up.dtype);
}

}  // namespace tessera
