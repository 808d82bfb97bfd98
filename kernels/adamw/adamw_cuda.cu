#include "kernels/adamw/adamw.h"
#include "kernels/common/cuda/elements.cuh"
#include "kernels/common/stochastic_rounding.h"

namespace tessera {
namespace {

struct AdamWArguments {
  Elements<1> weight, moment1, moment2, gradient, mirror;
  const StepState* state;
  double weight_decay, beta1, beta2, epsilon;
  uint64_t rounding_key;
  int64_t first;
};
static_assert(kVector == kRoundingBlock);

template <class T>
__global__ void adamw_kernel(const __grid_constant__ AdamWArguments op) {
  const StepState& state = *op.state;
  const int64_t i = grid_thread() * kVector;
  if (state.apply == 0 || i >= op.weight.shape[0]) return;
  const int n = run_length(op.weight.shape[0] - i);
  const T factor = static_cast<T>(state.gradient_factor);
  const T keep = static_cast<T>(1 - state.learning_rate * op.weight_decay);
  const T beta1 = static_cast<T>(op.beta1), rest1 = static_cast<T>(1 - op.beta1);
  const T beta2 = static_cast<T>(op.beta2), rest2 = static_cast<T>(1 - op.beta2);
  const T step = static_cast<T>(state.learning_rate / (1 - state.beta1_power));
  const T root = static_cast<T>(1 / sqrt(1 - state.beta2_power));
  T w[kVector], m[kVector], v[kVector], gradient[kVector];
  fetch_run(op.weight, i, n, w);
  fetch_run(op.moment1, i, n, m);
  fetch_run(op.moment2, i, n, v);
  fetch_run(op.gradient, i, n, gradient);
  widen_run(op.weight.dtype, w);
  widen_run(op.moment1.dtype, m);
  widen_run(op.moment2.dtype, v);
  widen_run(op.gradient.dtype, gradient);
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    const T g = factor * gradient[k];
    m[k] = beta1 * m[k] + rest1 * g;
    v[k] = beta2 * v[k] + rest2 * g * g;
    w[k] = keep * w[k] - step * m[k] / (root * sqrt(v[k]) + static_cast<T>(op.epsilon));
  }
  if constexpr (sizeof(T) == sizeof(float)) {
    if (op.weight.dtype == DType::bf16) round_block(w, n, op.rounding_key, (op.first + i) / kVector, state.iteration);
  }
  store_run(op.weight, i, n, w);
  store_run(op.moment1, i, n, m);
  store_run(op.moment2, i, n, v);
  if (op.mirror) store_run(op.mirror, i, n, w);
}

}  // namespace

void AdamWStep::operator()(Cuda cuda) const {
  const AdamWArguments arguments{weight,       moment1, moment2, gradient, mirror,       state,
                                 weight_decay, beta1,   beta2,   epsilon,  rounding_key, first};
  select_compute(
      [&]<class T>() {
        launch_grid("adamw", adamw_kernel<T>, cuda, {.x = pieces_of(weight.shape[0], 256 * kVector)}, arguments);
      },
      gradient.dtype);
}

}  // namespace tessera
