#include "kernels/common/cuda/elements.cuh"
#include "kernels/rotary/rotary.h"

namespace tessera {
namespace {

struct RotaryArguments {
  Elements<4> x;
  Elements<2> positions;
  int64_t start;
  double base;
  double sign;
  Elements<4> y;
};

/// One thread turns one pair of one token, in all heads: the angle is formed once.
template <class T>
__global__ void rotary_kernel(const __grid_constant__ RotaryArguments op) {
  const int64_t half = op.x.shape[3] / 2, task = grid_thread();
  if (task >= op.x.shape[0] * op.x.shape[1] * half) return;
  const int64_t i = task % half, n = task / half % op.x.shape[1], b = task / half / op.x.shape[1];
  const int64_t position = op.positions
                               ? op.positions.as<int32_t>()[b * op.positions.strides[0] + n * op.positions.strides[1]]
                               : op.start + n;
  const double theta = pow(op.base, -2.0 * static_cast<double>(i) / static_cast<double>(op.x.shape[3]));
  const double angle = static_cast<double>(position) * theta;
  const T c = static_cast<T>(cos(angle)), s = static_cast<T>(op.sign * sin(angle));
  for (int64_t h = 0; h < op.x.shape[2]; ++h) {
    const int64_t from = b * op.x.strides[0] + n * op.x.strides[1] + h * op.x.strides[2] + i;
    const int64_t to = b * op.y.strides[0] + n * op.y.strides[1] + h * op.y.strides[2] + i;
    const T low = load_one<T>(op.x, from), high = load_one<T>(op.x, from + half);
    store_one(op.y, to, low * c - high * s);
    store_one(op.y, to + half, high * c + low * s);
  }
}

}  // namespace

void Rotary::operator()(Cuda cuda) const {
  const RotaryArguments arguments{x, positions, start, base, direction == RotaryDirection::forward ? 1.0 : -1.0, y};
  const int64_t pairs = x.shape[0] * x.shape[1] * (x.shape[3] / 2);
  select_compute(
      [&]<class T>() { launch_grid("rotary", rotary_kernel<T>, cuda, {.x = pieces_of(pairs, 256)}, arguments); },
      x.dtype, y.dtype);
}

}  // namespace tessera
