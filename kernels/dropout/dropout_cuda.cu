#include "kernels/common/cuda/elements.cuh"
#include "kernels/common/philox.h"
#include "kernels/dropout/dropout.h"

namespace tessera {
namespace {

struct DropoutArguments {
  Elements<2> x, residual;
  uint32_t threshold;  // of 2³²: a draw in the upper half of a word is compared with the other half behind it
  double factor;
  RandomKey key;
  int64_t first_row;
  Elements<2> y;
};

template <class T>
__global__ void dropout_kernel(const __grid_constant__ DropoutArguments op) {
  const int64_t width = op.x.shape[1], pieces = (width + kVector - 1) / kVector, task = grid_thread();
  if (task >= op.x.shape[0] * pieces) return;
  const auto [row, piece] = divide(task, pieces);
  const int64_t c = piece * kVector;
  const int n = run_length(width - c);
  const auto index = static_cast<uint64_t>(op.first_row + row);
  T x[kVector], residual[kVector] = {};
  fetch_run(op.x, row * op.x.strides[0] + c, n, x);
  if (op.residual) fetch_run(op.residual, row * op.residual.strides[0] + c, n, residual);
  widen_run(op.x.dtype, x);
  widen_run(op.residual.dtype, residual);
  const Words drawn = philox(
      op.key, {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(piece), 0});
  const uint32_t words[kVector / 2] = {drawn.x, drawn.y, drawn.z, drawn.w};
  const T factor = static_cast<T>(op.factor);
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    const bool keeps = (k % 2 == 0 ? words[k / 2] << 16 : words[k / 2]) >= op.threshold;
    x[k] = residual[k] + (keeps ? x[k] * factor : T(0));
  }
  store_run(op.y, row * op.y.strides[0] + c, n, x);
}

}  // namespace

void Dropout::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() {
        const DropoutRule rule(p);
        const DropoutArguments arguments{x, residual, rule.threshold << 16, rule.factor, key, first_row, y};
        launch_grid("dropout", dropout_kernel<T>, cuda,
                    {.x = pieces_of(x.shape[0] * pieces_of(x.shape[1], kVector), 256)}, arguments);
      },
      x.dtype, y.dtype);
}

}  // namespace tessera
