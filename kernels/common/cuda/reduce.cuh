// Sums and maxima over a warp or a block, in an order that depends on nothing but the number of threads. Every thread
// of the warp or block takes part and gets the result.
#pragma once

#include "kernels/common/cuda/words.cuh"

namespace tessera {

struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Largest {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

template <class T, class Combine>
__device__ T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) value = combine(value, shuffle_xor(value, mask));
  return value;
}

/// `room` is shared memory for 32 values; it may be used again right after. All warps are full.
template <class T, class Combine>
__device__ T block_reduce(T value, T (&room)[32], Combine combine) {
  value = warp_reduce(value, combine);
  if (lane_index() == 0) room[warp_index()] = value;
  sync_threads();
  T total = room[0];
  for (int warp = 1; warp < thread_count() / 32; ++warp) total = combine(total, room[warp]);
  sync_threads();
  return total;
}

}  // namespace tessera
