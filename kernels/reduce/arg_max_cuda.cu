#include "kernels/common/cuda/elements.cuh"
#include "kernels/reduce/arg_max.h"

namespace tessera {
namespace {

/// A candidate; its column is −1 where there is none.
template <class T>
struct Best {
  T value;
  int32_t column;
};

template <class T>
__device__ Best<T> better(const Best<T>& a, const Best<T>& b) {
  if (a.column < 0 || b.column < 0) return a.column < 0 ? b : a;
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  if (a_nan != b_nan) return a_nan ? a : b;
  if (!a_nan && a.value != b.value) return a.value > b.value ? a : b;
  return a.column < b.column ? a : b;
}

constexpr int kMostThreads = 256;

template <class T>
struct WarpBests {
  Best<T> best[kMostThreads / 32];
};

/// A block owns a row.
template <class T>
__global__ void arg_max_kernel(Elements<2> x, Elements<1> index) {
  auto& warps = shared_memory<WarpBests<T>>();
  const int64_t row = block_index().x;
  Best<T> best{T(0), -1};
  for (int64_t c = thread_index() * kVector; c < x.shape[1]; c += thread_count() * kVector) {
    const int n = run_length(x.shape[1] - c);
    T values[kVector];
    load_run(x, row * x.strides[0] + c, n, values);
#pragma unroll
    for (int k = 0; k < kVector; ++k)
      if (k < n) best = better(best, Best<T>{values[k], static_cast<int32_t>(c) + k});
  }
  for (int mask = 16; mask > 0; mask /= 2)
    best = better(best, Best<T>{shuffle_xor(best.value, mask), shuffle_xor(best.column, mask)});
  if (lane_index() == 0) warps.best[warp_index()] = best;
  sync_threads();
  if (thread_index() != 0) return;
  for (int warp = 1; warp < thread_count() / 32; ++warp) best = better(best, warps.best[warp]);
  index.as<int32_t>()[row * index.strides[0]] = best.column;
}

}  // namespace

void ArgMax::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() {
        const int64_t warps = std::min<int64_t>(pieces_of(x.shape[1], 32 * kVector), kMostThreads / 32);
        launch_grid("arg_max", arg_max_kernel<T>, cuda,
                    {.x = x.shape[0], .threads = static_cast<int>(32 * warps), .shared_bytes = sizeof(WarpBests<T>)}, x,
                    index);
      },
      x.dtype);
}

}  // namespace tessera
