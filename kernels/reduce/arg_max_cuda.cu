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

template <class T>
__global__ void arg_max_kernel(Elements<2> x, Elements<1> index) {
  const int64_t row = static_cast<int64_t>(block_index().x) * 4 + warp_index();
  if (row >= x.shape[0]) return;
  Best<T> best{T(0), -1};
  for (int64_t c = lane_index(); c < x.shape[1]; c += 32)
    best = better(best, Best<T>{load_one<T>(x, row * x.strides[0] + c), static_cast<int32_t>(c)});
  for (int mask = 16; mask > 0; mask /= 2)
    best = better(best, Best<T>{shuffle_xor(best.value, mask), shuffle_xor(best.column, mask)});
  if (lane_index() == 0) index.as<int32_t>()[row * index.strides[0]] = best.column;
}

}  // namespace

void ArgMax::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() {
        launch_grid("arg_max", arg_max_kernel<T>, cuda, {.x = pieces_of(x.shape[0], 4), .threads = 128}, x, index);
      },
      x.dtype);
}

}  // namespace tessera
