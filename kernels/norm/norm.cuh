// Layer norm and RMS norm as one algorithm on the GPU: an RMS norm is a layer norm whose means are taken as zero. A row
// belongs to one warp; sums over rows are formed over fixed chunks, which are added in order.
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

/// Calls `body.operator()<Runs>()` with the number of registers' runs that hold a row, 0 where none of the compiled do:
/// such rows, and those in f64, are read more than once.
template <class T, class Body>
void with_runs(int64_t width, Body&& body) {
  if constexpr (std::is_same_v<T, float>) {
    if (width <= kWarpStep) return body.template operator()<1>();
    if (width <= 2 * kWarpStep) return body.template operator()<2>();
    if (width <= 4 * kWarpStep) return body.template operator()<4>();
  }
  body.template operator()<0>();
}

/// Where run `run` of this lane begins in a row, and how much of it there is.
struct RowRun {
  int64_t begin;
  int length;
  __device__ RowRun(int run, int64_t width) : begin((run * 32 + lane_index()) * kVector), length(0) {
    if (begin < width) length = run_length(width - begin);
  }
};

template <class T>
__device__ void set(const Elements<1>& y, int64_t i, T value) {
  if (y) y.as<T>()[i * y.strides[0]] = value;
}

}  // namespace tessera
