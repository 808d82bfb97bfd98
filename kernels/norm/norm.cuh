// Layer norm and RMS norm as one algorithm on the GPU: an RMS norm is a layer norm whose means are taken as zero. A row
// belongs to one warp, or to one block where it is wider than a warp's registers; sums over rows are formed over fixed
// chunks, which are added in order.
#pragma once

#include "kernels/common/cuda/elements.cuh"
#include "kernels/common/cuda/reduce.cuh"

namespace tessera {

inline constexpr int kRowsPerBlock = 8;
inline constexpr int kWarpStep = 32 * kVector;  ///< elements that a warp handles at a time

inline Grid row_grid(int64_t rows) { return {.x = pieces_of(rows, kRowsPerBlock), .threads = 32 * kRowsPerBlock}; }

/// The row of this warp.
__device__ inline int64_t warp_row() { return static_cast<int64_t>(block_index().x) * kRowsPerBlock + warp_index(); }

/// A run of a vector that may be absent.
template <class T>
__device__ void load_or(const Elements<1>& x, int64_t at, int count, T otherwise, T (&to)[kVector]) {
  if (x) {
    load_run(x, at * x.strides[0], count, to, x.strides[0]);
  } else {
#pragma unroll
    for (int k = 0; k < kVector; ++k) to[k] = otherwise;
  }
}

/// The one place where a normalised element is computed, so that recomputing it gives the same bits.
template <class T>
__device__ T normalized(T s, T mean, T rstd, T weight, T bias) {
  return (s - mean) * rstd * weight + bias;
}

template <class T>
__device__ void normalize_row(const Elements<2>& from, int64_t row, T mean, T rstd, const Elements<1>& weight,
                              const Elements<1>& bias, const Elements<2>& y) {
  const int64_t width = y.shape[1];
  for (int64_t c = lane_index() * kVector; c < width; c += kWarpStep) {
    const int n = run_length(width - c);
    T s[kVector], w[kVector], b[kVector];
    load_run(from, row * from.strides[0] + c, n, s);
    load_or(weight, c, n, T(1), w);
    load_or(bias, c, n, T(0), b);
#pragma unroll
    for (int k = 0; k < kVector; ++k) s[k] = normalized(s[k], mean, rstd, w[k], b[k]);
    store_run(y, row * y.strides[0] + c, n, s);
  }
}

/// Who shares a row.
enum class Team : uint8_t { warp, block };

inline constexpr int kBlockThreads = 512;  ///< at most, of a block that shares a row

/// This thread's place in its team.
template <Team Members>
__device__ int member() {
  return Members == Team::warp ? lane_index() : thread_index();
}

template <class T>
struct SumRoom {
  T values[32];
};

/// The sum over a team; a block uses the beginning of its shared memory.
template <Team Members, class T>
__device__ T team_sum(T value) {
  if constexpr (Members == Team::warp) return warp_reduce(value, Plus{});
  else return block_reduce(value, shared_memory<SumRoom<T>>().values, Plus{});
}

/// Calls `body.operator()<Members, Runs>()` with the team and the number of registers' runs per thread that hold a row;
/// 0 where none of the compiled do: such rows, and those in f64, are read more than once.
template <class T, class Body>
void with_team(int64_t width, Body&& body) {
  if constexpr (std::is_same_v<T, float>) {
    if (width <= kWarpStep) return body.template operator()<Team::warp, 1>();
    if (width <= 2 * kWarpStep) return body.template operator()<Team::warp, 2>();
    if (width <= 4 * kWarpStep) return body.template operator()<Team::warp, 4>();
    if (width <= 2 * kBlockThreads * kVector) return body.template operator()<Team::block, 2>();
  }
  body.template operator()<Team::warp, 0>();
}

/// Threads of a block that shares a row.
inline int threads_for(int64_t width, int runs) {
  return static_cast<int>(32 * pieces_of(width, int64_t{32} * runs * kVector));
}

/// Where run `run` of this thread begins in a row, and how much of it there is.
template <Team Members>
struct RowRun {
  int64_t begin;
  int length;
  __device__ RowRun(int run, int64_t width)
      : begin((run * (Members == Team::warp ? 32 : thread_count()) + member<Members>()) * kVector), length(0) {
    if (begin < width) length = run_length(width - begin);
  }
};

template <class T>
__device__ void set(const Elements<1>& y, int64_t i, T value) {
  if (y) y.as<T>()[i * y.strides[0]] = value;
}

}  // namespace tessera
