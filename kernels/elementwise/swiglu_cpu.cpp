#include <algorithm>

#include "kernels/common/activation_math.h"
#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/elementwise/swiglu.h"

namespace tessera {
namespace {

template <class T>
void forward(const SwiGlu& op) {
  const int64_t width = op.y.shape[1];
  parallel_for(op.y.shape[0], row_grain(2 * width), [&](int64_t r) {
    T gate_buffer[kRun], up_buffer[kRun], y_buffer[kRun];
    for (int64_t i = 0; i < width; i += kRun) {
      const int64_t n = std::min(kRun, width - i);
      const int64_t at_gate = r * op.gate_up.strides[0] + i, at_y = r * op.y.strides[0] + i;
      const T* gate = load_run(op.gate_up, at_gate, n, gate_buffer);
      const T* up = load_run(op.gate_up, at_gate + width, n, up_buffer);
      T* y = target_run(op.y, at_y, y_buffer);
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) y[k] = silu(gate[k]) * up[k];
      store_run(y, op.y, at_y, n);
    }
  });
}

template <class T>
void backward(const SwiGluBackward& op) {
  const int64_t width = op.dy.shape[1];
  parallel_for(op.dy.shape[0], row_grain(2 * width), [&](int64_t r) {
    T gate_buffer[kRun], up_buffer[kRun], dy_buffer[kRun], d_gate_buffer[kRun], d_up_buffer[kRun];
    for (int64_t i = 0; i < width; i += kRun) {
      const int64_t n = std::min(kRun, width - i);
      const int64_t at_gate = r * op.gate_up.strides[0] + i, at_d_gate = r * op.d_gate_up.strides[0] + i;
      const T* gate = load_run(op.gate_up, at_gate, n, gate_buffer);
      const T* up = load_run(op.gate_up, at_gate + width, n, up_buffer);
      const T* dy = load_run(op.dy, r * op.dy.strides[0] + i, n, dy_buffer);
      T* d_gate = target_run(op.d_gate_up, at_d_gate, d_gate_buffer);
      T* d_up = target_run(op.d_gate_up, at_d_gate + width, d_up_buffer);
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) {
        const T g = gate[k], u = up[k], d = dy[k];
        d_gate[k] = d * u * silu_slope(g);
        d_up[k] = d * silu(g);
      }
      store_run(d_gate, op.d_gate_up, at_d_gate, n);
      store_run(d_up, op.d_gate_up, at_d_gate + width, n);
    }
  });
}

}  // namespace

void SwiGlu::operator()(Cpu) const {
  select_compute([&]<class T>() { forward<T>(*this); }, gate_up.dtype);
}

void SwiGluBackward::operator()(Cpu) const {
  select_compute([&]<class T>() { backward<T>(*this); }, gate_up.dtype);
}

}  // namespace tessera
