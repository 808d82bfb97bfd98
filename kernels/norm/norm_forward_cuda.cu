#include "kernels/norm/deviation.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/norm/norm.cuh"
#include "kernels/norm/normalize.h"
#include "kernels/norm/rms_norm.h"

namespace tessera {
namespace {

struct NormArguments {
  Elements<2> x, residual;
  Elements<1> weight, bias;
  double epsilon;
  bool centered;
  Elements<2> sum, y;
  Elements<1> mean, rstd;
};

/// Asks for a run of x and residual.
template <class T>
__device__ void fetch_terms(const NormArguments& norm, int64_t row, int64_t c, int n, T (&x)[kVector],
                            T (&residual)[kVector]) {
  fetch_run(norm.x, row * norm.x.strides[0] + c, n, x);
  if (norm.residual) fetch_run(norm.residual, row * norm.residual.strides[0] + c, n, residual);
}

/// x = x + residual, rounded to the dtype of `sum` where it is stored.
template <class T>
__device__ void add_terms(const NormArguments& norm, int64_t row, int64_t c, int n, T (&x)[kVector],
                          T (&residual)[kVector]) {
  widen_run(norm.x.dtype, x);
  if (norm.residual) {
    widen_run(norm.residual.dtype, residual);
#pragma unroll
    for (int k = 0; k < kVector; ++k) x[k] += residual[k];
  }
  if (norm.sum) {
    store_run(norm.sum, row * norm.sum.strides[0] + c, n, x);
#pragma unroll
    for (int k = 0; k < kVector; ++k) x[k] = round_to(norm.sum.dtype, x[k]);
  }
}

template <class T>
__device__ void load_sum(const NormArguments& norm, int64_t row, int64_t c, int n, T (&s)[kVector]) {
  T residual[kVector];
  fetch_terms(norm, row, c, n, s, residual);
  add_terms(norm, row, c, n, s, residual);
}

/// A row stays in its team's registers: everything is read once, and all of it is on its way before the first is used.
template <class T, Team Members, int Runs>
__global__ void __launch_bounds__(kBlockThreads) norm_kernel(const __grid_constant__ NormArguments norm) {
  const int64_t row = Members == Team::warp ? warp_row() : block_index().x, width = norm.x.shape[1];
  if (row >= norm.x.shape[0]) return;
  T s[Runs][kVector] = {}, residual[Runs][kVector], total = 0, squares = 0;
#pragma unroll
  for (int r = 0; r < Runs; ++r) {
    const RowRun<Members> run(r, width);
    if (run.length > 0) fetch_terms(norm, row, run.begin, run.length, s[r], residual[r]);
  }
#pragma unroll
  for (int r = 0; r < Runs; ++r) {
    const RowRun<Members> run(r, width);
    if (run.length > 0) add_terms(norm, row, run.begin, run.length, s[r], residual[r]);
#pragma unroll
    for (int k = 0; k < kVector; ++k) total += s[r][k];  // 0 behind the end
  }
  const T mean = norm.centered ? team_sum<Members>(total) / static_cast<T>(width) : T(0);
#pragma unroll
  for (int r = 0; r < Runs; ++r) {
    const int length = RowRun<Members>(r, width).length;
#pragma unroll
    for (int k = 0; k < kVector; ++k) squares += k < length ? (s[r][k] - mean) * (s[r][k] - mean) : T(0);
  }
  const T variance = team_sum<Members>(squares) / static_cast<T>(width);
  const T rstd = inverse_deviation(variance, static_cast<T>(norm.epsilon));
  if (member<Members>() == 0) {
    set(norm.mean, row, mean);
    set(norm.rstd, row, rstd);
  }
#pragma unroll
  for (int r = 0; r < Runs; ++r) {
    const RowRun<Members> run(r, width);
    if (run.length == 0) continue;
    T w[kVector], b[kVector];
    load_or(norm.weight, run.begin, run.length, T(1), w);
    load_or(norm.bias, run.begin, run.length, T(0), b);
#pragma unroll
    for (int k = 0; k < kVector; ++k) s[r][k] = normalized(s[r][k], mean, rstd, w[k], b[k]);
    store_run(norm.y, row * norm.y.strides[0] + run.begin, run.length, s[r]);
  }
}

/// A warp reads its row three times.
template <class T>
__global__ void long_norm_kernel(const __grid_constant__ NormArguments norm) {
  const int64_t row = warp_row(), width = norm.x.shape[1];
  if (row >= norm.x.shape[0]) return;
  T total = 0;
  for (int64_t c = lane_index() * kVector; c < width; c += kWarpStep) {
    const int n = run_length(width - c);
    T s[kVector];
    load_sum(norm, row, c, n, s);
#pragma unroll
    for (int k = 0; k < kVector; ++k) total += s[k];  // 0 behind the end
  }
  const T mean = norm.centered ? warp_reduce(total, Plus{}) / static_cast<T>(width) : T(0);
  T squares = 0;
  const bool stored = static_cast<bool>(norm.sum);
  for (int64_t c = lane_index() * kVector; c < width; c += kWarpStep) {
    const int n = run_length(width - c);
    T s[kVector];
    if (stored) load_run(norm.sum, row * norm.sum.strides[0] + c, n, s);
    else load_sum(norm, row, c, n, s);
#pragma unroll
    for (int k = 0; k < kVector; ++k) squares += k < n ? (s[k] - mean) * (s[k] - mean) : T(0);
  }
  const T variance = warp_reduce(squares, Plus{}) / static_cast<T>(width);
  const T rstd = inverse_deviation(variance, static_cast<T>(norm.epsilon));
  if (lane_index() == 0) {
    set(norm.mean, row, mean);
    set(norm.rstd, row, rstd);
  }
  if (stored || !norm.residual) {
    normalize_row(stored ? norm.sum : norm.x, row, mean, rstd, norm.weight, norm.bias, norm.y);
    return;
  }
  for (int64_t c = lane_index() * kVector; c < width; c += kWarpStep) {
    const int n = run_length(width - c);
    T s[kVector], w[kVector], b[kVector];
    load_sum(norm, row, c, n, s);
    load_or(norm.weight, c, n, T(1), w);
    load_or(norm.bias, c, n, T(0), b);
#pragma unroll
    for (int k = 0; k < kVector; ++k) s[k] = normalized(s[k], mean, rstd, w[k], b[k]);
    store_run(norm.y, row * norm.y.strides[0] + c, n, s);
  }
}

template <class T>
__global__ void normalize_kernel(Elements<2> x, Elements<1> mean, Elements<1> rstd, Elements<1> weight,
                                 Elements<1> bias, Elements<2> y) {
  const int64_t row = warp_row();
  if (row >= x.shape[0]) return;
  const T m = mean ? mean.as<T>()[row * mean.strides[0]] : T(0);
  normalize_row(x, row, m, rstd ? rstd.as<T>()[row * rstd.strides[0]] : T(1), weight, bias, y);
}

void run(const char* name, Cuda cuda, const NormArguments& norm, DType dtype) {
  const int64_t rows = norm.x.shape[0], width = norm.x.shape[1];
  select_compute(
      [&]<class T>() {
        with_team<T>(width, [&]<Team Members, int Runs>() {
          Grid grid = row_grid(rows);
          if constexpr (Members == Team::block)
            grid = {.x = rows, .threads = threads_for(width, Runs), .shared_bytes = sizeof(SumRoom<T>)};
          if constexpr (Runs == 0) launch_grid(name, long_norm_kernel<T>, cuda, grid, norm);
          else launch_grid(name, norm_kernel<T, Members, Runs>, cuda, grid, norm);
        });
      },
      dtype);
}

}  // namespace

void LayerNormForward::operator()(Cuda cuda) const {
  run("layer_norm", cuda, {x, residual, weight, bias, epsilon, true, sum, y, mean, rstd}, x.dtype);
}

void RmsNormForward::operator()(Cuda cuda) const {
  run("rms_norm", cuda, {x, residual, weight, In<1>{}, epsilon, false, sum, y, Out<1>{}, rstd}, x.dtype);
}

void Normalize::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() {
        launch_grid("normalize", normalize_kernel<T>, cuda, row_grid(x.shape[0]), x, mean, rstd, weight, bias, y);
      },
      x.dtype);
}

}  // namespace tessera
