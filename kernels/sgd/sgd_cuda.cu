#include "kernels/common/cuda/elements.cuh"
#include "kernels/sgd/sgd.h"

namespace tessera {
namespace {

struct SgdArguments {
  Elements<1> weight, velocity, gradient, mirror;
  const StepState* state;
  double weight_decay, momentum;
};

template <class T>
__global__ void sgd_kernel(const __grid_constant__ SgdArguments op) {
  const StepState& state = *op.state;
  const int64_t i = grid_thread() * kVector;
  if (state.apply == 0 || i >= op.weight.shape[0]) return;
  const int n = run_length(op.weight.shape[0] - i);
  const T factor = static_cast<T>(state.gradient_factor), rate = static_cast<T>(state.learning_rate);
  T w[kVector], u[kVector] = {}, gradient[kVector];
  load_run(op.weight, i, n, w);
  if (op.velocity) load_run(op.velocity, i, n, u);
  load_run(op.gradient, i, n, gradient);
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    u[k] = static_cast<T>(op.momentum) * u[k] + (factor * gradient[k] + static_cast<T>(op.weight_decay) * w[k]);
    w[k] -= rate * u[k];
  }
  store_run(op.weight, i, n, w);
  if (op.velocity) store_run(op.velocity, i, n, u);
  if (op.mirror) store_run(op.mirror, i, n, w);
}

}  // namespace

void SgdStep::operator()(Cuda cuda) const {
  const SgdArguments arguments{weight, velocity, gradient, mirror, state, weight_decay, momentum};
  select_compute(
      [&]<class T>() {
        launch_grid("sgd", sgd_kernel<T>, cuda, {.x = pieces_of(weight.shape[0], 256 * kVector)}, arguments);
      },
      weight.dtype);
}

}  // namespace tessera
