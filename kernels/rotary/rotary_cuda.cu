#include <cmath>

#include "kernels/common/cuda/elements.cuh"
#include "kernels/common/trigonometry.h"
#include "kernels/rotary/rotary.h"

namespace tessera {
namespace {

constexpr int kThreads = 128;
constexpr int kHeads = 8;   ///< that one thread turns by the same angles
constexpr int kPairs = 64;  ///< that one launch turns: as many as the arguments have room for

struct RotaryArguments {
  Elements<4> x;
  Elements<2> positions;
  int64_t start, first;  ///< the position of n = 0; the first pair
  double sign;
  double theta[kPairs];
  Elements<4> y;
};

/// The cosines and sines of eight pairs at one position; angles are reduced to half a turn in f64.
template <class T>
__device__ void turn_by(double position, const double* theta, double sign, T (&c)[kVector], T (&s)[kVector]) {
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    const double angle = position * theta[k], turns = rint(angle * 0.15915494309189533577);  // 1/2π
    const double rest = fma(-turns, 2.4492935982947064e-16, fma(-turns, 6.283185307179586, angle));
    c[k] = static_cast<T>(cos_pi(rest * 0.31830988618379067154));  // 1/π
    s[k] = static_cast<T>(sign * sin_pi(rest * 0.31830988618379067154));
  }
}

/// Blocks that share an SM, where f32 leaves registers for that.
template <class T>
inline constexpr int kBlocksPerSm = sizeof(T) == sizeof(float) ? 3 : 1;

/// One thread turns eight pairs of one token in kHeads heads; a block has the pairs of many tokens.
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm<T>) rotary_kernel(const __grid_constant__ RotaryArguments op) {
  const int64_t half = op.x.shape[3] / 2;
  const int pairs = half - op.first < kPairs ? static_cast<int>(half - op.first) : kPairs;
  const int pieces = (pairs + kVector - 1) / kVector, tokens = kThreads / pieces, piece = thread_index() % pieces;
  const int64_t token = static_cast<int64_t>(block_index().x) * tokens + thread_index() / pieces;
  if (thread_index() / pieces >= tokens || token >= op.x.shape[0] * op.x.shape[1]) return;
  const int64_t i = op.first + piece * kVector, n = token % op.x.shape[1], b = token / op.x.shape[1];
  const int64_t position = op.positions
                               ? op.positions.as<int32_t>()[b * op.positions.strides[0] + n * op.positions.strides[1]]
                               : op.start + n;
  const int count = run_length(half - i);
  T c[kVector], s[kVector];
  turn_by(static_cast<double>(position), op.theta + piece * kVector, op.sign, c, s);
#pragma unroll 1
  for (int64_t h = static_cast<int64_t>(block_index().y) * kHeads;
       h < op.x.shape[2] && h < (static_cast<int64_t>(block_index().y) + 1) * kHeads; ++h) {
    const int64_t from = b * op.x.strides[0] + n * op.x.strides[1] + h * op.x.strides[2] + i;
    const int64_t to = b * op.y.strides[0] + n * op.y.strides[1] + h * op.y.strides[2] + i;
    T low[kVector], high[kVector];
    fetch_run(op.x, from, count, low);
    fetch_run(op.x, from + half, count, high);
    widen_run(op.x.dtype, low);
    widen_run(op.x.dtype, high);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      const T x = low[k];
      low[k] = x * c[k] - high[k] * s[k];
      high[k] = high[k] * c[k] + x * s[k];
    }
    store_run(op.y, to, count, low);
    store_run(op.y, to + half, count, high);
  }
}

}  // namespace

void Rotary::operator()(Cuda cuda) const {
  const int64_t half = x.shape[3] / 2;
  for (int64_t first = 0; first < half; first += kPairs) {
    RotaryArguments arguments{x, positions, start, first, direction == RotaryDirection::forward ? 1.0 : -1.0, {}, y};
    const int64_t pairs = std::min<int64_t>(half - first, kPairs);
    for (int64_t i = 0; i < pairs; ++i)
      arguments.theta[i] = std::pow(base, -2.0 * static_cast<double>(first + i) / static_cast<double>(x.shape[3]));
    const int64_t tokens = kThreads / pieces_of(pairs, kVector);  // of a full block
    select_compute(
        [&]<class T>() {
          launch_grid("rotary", rotary_kernel<T>, cuda,
                      {.x = pieces_of(x.shape[0] * x.shape[1], tokens),
                       .y = pieces_of(x.shape[2], kHeads),
                       .threads = kThreads},
                      arguments);
        },
        x.dtype, y.dtype);
  }
}

}  // namespace tessera
