#include "kernels/common/cuda/pieces.cuh"
#include "kernels/common/cuda/scratch.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/norm/norm.cuh"
#include "kernels/norm/rms_norm.h"

namespace tessera {
namespace {

constexpr int64_t kChunkRows = 16;  ///< rows whose contribution to dweight and dbias is summed in one go

struct BackwardArguments {
  Elements<2> x;
  Elements<1> weight, mean, rstd;
  Elements<2> dy, dsum, dx;
  bool centered;
  bool normalized;
};

/// Sums over a row that its gradient needs.
template <class T>
struct RowSums {
  T g, gs;
};
template <class T>
__device__ T gradient_of(T normal, T g, T rstd, const RowSums<T>& sums, T other) {
  return rstd * (g - sums.g - normal * sums.gs) + other;
}

/// What a block keeps while its warps add up their sums over rows.
template <class T, int Runs>
struct ColumnSums {
  T parts[kRowsPerBlock][Runs * kWarpStep];
};

template <class T, Team Members, int Runs>
inline constexpr size_t kSharedBytes = Members == Team::warp ? sizeof(ColumnSums<T, Runs>) : sizeof(SumRoom<T>);

/// partial[c] = the sum over the warps of a block that has a row per warp.
template <class T, int Runs>
__device__ void add_warps(const T (&sums)[Runs][kVector], int64_t width, T* partial) {
  auto& smem = shared_memory<ColumnSums<T, Runs>>();
  sync_threads();
#pragma unroll
  for (int r = 0; r < Runs; ++r)
#pragma unroll
    for (int k = 0; k < kVector; ++k) smem.parts[warp_index()][(r * 32 + lane_index()) * kVector + k] = sums[r][k];
  sync_threads();
  for (int c = thread_index(); c < width; c += thread_count()) {
    T total = 0;
    for (int warp = 0; warp < kRowsPerBlock; ++warp) total += smem.parts[warp][c];
    partial[c] = total;
  }
}

/// partial[c] = the sums over rows of a block; in one that shares its rows every thread has columns of its own.
template <class T, Team Members, int Runs>
__device__ void write_sums(const T (&sums)[Runs][kVector], int64_t width, T* partial) {
  if constexpr (Members == Team::warp) {
    add_warps(sums, width, partial);
  } else {
#pragma unroll
    for (int r = 0; r < Runs; ++r) {
      const RowRun<Members> run(r, width);
#pragma unroll
      for (int k = 0; k < kVector; ++k)
        if (k < run.length) partial[run.begin + k] = sums[r][k];
    }
  }
}

/// dx of `rows` rows, and their contribution to dweight and dbias: a row stays in its team's registers, everything is
/// read once.
template <class T, Team Members, int Runs>
__global__ void __launch_bounds__(Members == Team::warp ? 32 * kRowsPerBlock : kBlockThreads)
    norm_kernel(const __grid_constant__ BackwardArguments norm, int64_t rows, T* weight_partial, T* bias_partial) {
  const int64_t width = norm.x.shape[1], first = static_cast<int64_t>(block_index().x) * rows;
  const int64_t end = first + rows < norm.x.shape[0] ? first + rows : norm.x.shape[0];
  T dweight[Runs][kVector] = {}, dbias[Runs][kVector] = {};
#pragma unroll 1
  for (int64_t row = first + (Members == Team::warp ? warp_index() : 0); row < end;
       row += Members == Team::warp ? kRowsPerBlock : 1) {
    const T mean = norm.mean ? norm.mean.as<T>()[row * norm.mean.strides[0]] : T(0);
    const T rstd = norm.rstd.as<T>()[row * norm.rstd.strides[0]];
    const T factor = norm.normalized ? T(1) : rstd;                             // ŝ = (x − mean)·factor
    T x[Runs][kVector] = {}, g[Runs][kVector] = {}, other[Runs][kVector] = {};  // x becomes ŝ
    RowSums<T> sums{0, 0};
#pragma unroll
    for (int r = 0; r < Runs; ++r) {  // all of the row is on its way before the first of it is used
      const RowRun<Members> run(r, width);
      if (run.length == 0) continue;
      fetch_run(norm.x, row * norm.x.strides[0] + run.begin, run.length, x[r]);
      fetch_run(norm.dy, row * norm.dy.strides[0] + run.begin, run.length, g[r]);
      if (norm.dsum) fetch_run(norm.dsum, row * norm.dsum.strides[0] + run.begin, run.length, other[r]);
    }
#pragma unroll
    for (int r = 0; r < Runs; ++r) {
      const RowRun<Members> run(r, width);
      if (run.length == 0) continue;
      T w[kVector];
      load_or(norm.weight, run.begin, run.length, T(1), w);
      widen_run(norm.x.dtype, x[r]);
      widen_run(norm.dy.dtype, g[r]);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {  // g is 0 behind the end
        x[r][k] = (x[r][k] - mean) * factor;
        dweight[r][k] += g[r][k] * x[r][k];
        dbias[r][k] += g[r][k];
        g[r][k] *= w[k];
        sums.g += g[r][k];
        sums.gs += g[r][k] * x[r][k];
      }
    }
    sums.g = norm.centered ? team_sum<Members>(sums.g) / static_cast<T>(width) : T(0);
    sums.gs = team_sum<Members>(sums.gs) / static_cast<T>(width);
#pragma unroll
    for (int r = 0; r < Runs; ++r) {
      const RowRun<Members> run(r, width);
      if (run.length == 0) continue;
      if (norm.dsum) widen_run(norm.dsum.dtype, other[r]);
#pragma unroll
      for (int k = 0; k < kVector; ++k) x[r][k] = gradient_of(x[r][k], g[r][k], rstd, sums, other[r][k]);
      store_run(norm.dx, row * norm.dx.strides[0] + run.begin, run.length, x[r]);
    }
  }
  const int64_t at = static_cast<int64_t>(block_index().x) * width;
  if (weight_partial != nullptr) write_sums<T, Members>(dweight, width, weight_partial + at);
  if (bias_partial != nullptr) write_sums<T, Members>(dbias, width, bias_partial + at);
}

template <class T>
__global__ void dx_kernel(const __grid_constant__ BackwardArguments norm) {
  const int64_t row = warp_row(), width = norm.x.shape[1];
  if (row >= norm.x.shape[0]) return;
  const T mean = norm.mean ? norm.mean.as<T>()[row * norm.mean.strides[0]] : T(0);
  const T rstd = norm.rstd.as<T>()[row * norm.rstd.strides[0]];
  const T factor = norm.normalized ? T(1) : rstd;  // ŝ = (x − mean)·factor
  T g_sum = 0, gs_sum = 0;
  for (int64_t c = lane_index() * kVector; c < width; c += kWarpStep) {
    const int n = run_length(width - c);
    T x[kVector], w[kVector], g[kVector];
    load_run(norm.x, row * norm.x.strides[0] + c, n, x);
    load_or(norm.weight, c, n, T(1), w);
    load_run(norm.dy, row * norm.dy.strides[0] + c, n, g);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {  // g is 0 behind the end
      g_sum += g[k] * w[k];
      gs_sum += g[k] * w[k] * ((x[k] - mean) * factor);
    }
  }
  g_sum = norm.centered ? warp_reduce(g_sum, Plus{}) / static_cast<T>(width) : T(0);
  gs_sum = warp_reduce(gs_sum, Plus{}) / static_cast<T>(width);
  for (int64_t c = lane_index() * kVector; c < width; c += kWarpStep) {
    const int n = run_length(width - c);
    T x[kVector], w[kVector], g[kVector], other[kVector] = {};
    load_run(norm.x, row * norm.x.strides[0] + c, n, x);
    load_or(norm.weight, c, n, T(1), w);
    load_run(norm.dy, row * norm.dy.strides[0] + c, n, g);
    if (norm.dsum) load_run(norm.dsum, row * norm.dsum.strides[0] + c, n, other);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      x[k] = gradient_of((x[k] - mean) * factor, g[k] * w[k], rstd, {g_sum, gs_sum}, other[k]);
    }
    store_run(norm.dx, row * norm.dx.strides[0] + c, n, x);
  }
}

constexpr int kColumnThreads = 128;  ///< each has kVector neighbouring columns

/// partial[chunk] = {Σ dy · ŝ, Σ dy} over the rows of a chunk.
template <class T>
__global__ void column_kernel(const __grid_constant__ BackwardArguments norm, T* weight_partial, T* bias_partial) {
  const int64_t c = (int64_t{block_index().y} * kColumnThreads + thread_index()) * kVector, chunk = block_index().x;
  const int64_t width = norm.x.shape[1], begin = chunk * kChunkRows;
  if (c >= width) return;
  const int n = run_length(width - c);
  const int64_t end = begin + kChunkRows < norm.x.shape[0] ? begin + kChunkRows : norm.x.shape[0];
  T dweight[kVector] = {}, dbias[kVector] = {};
  for (int64_t row = begin; row < end; ++row) {
    const T mean = norm.mean ? norm.mean.as<T>()[row * norm.mean.strides[0]] : T(0);
    const T factor = norm.normalized ? T(1) : norm.rstd.as<T>()[row * norm.rstd.strides[0]];
    T x[kVector], g[kVector];
    fetch_run(norm.x, row * norm.x.strides[0] + c, n, x);
    fetch_run(norm.dy, row * norm.dy.strides[0] + c, n, g);
    widen_run(norm.x.dtype, x);
    widen_run(norm.dy.dtype, g);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      dweight[k] += g[k] * ((x[k] - mean) * factor);
      dbias[k] += g[k];
    }
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    if (k >= n) continue;
    weight_partial[chunk * width + c + k] = dweight[k];
    bias_partial[chunk * width + c + k] = dbias[k];
  }
}

/// Where a sum over rows goes.
struct RowSum {
  Out<1> y;
  float beta;
};

template <class T>
void add_chunks(Cuda cuda, const T* partial, int64_t chunks, const RowSum& sum) {
  if (!sum.y) return;
  const Out<2> row{sum.y.data, sum.y.dtype, {1, sum.y.shape[0]}, {0, sum.y.strides[0]}};
  add_pieces("norm_backward", cuda, partial, chunks, 1, sum.beta, row);
}

/// Long rows: first the sums over rows, for dx may be the memory of dy.
template <class T>
void run_long(Cuda cuda, const BackwardArguments& norm, const RowSum& dweight, const RowSum& dbias) {
  const int64_t rows = norm.x.shape[0], width = norm.x.shape[1], chunks = pieces_of(rows, kChunkRows);
  if (dweight.y || dbias.y) {
    const Scratch scratch(cuda, static_cast<size_t>(2 * chunks * width) * sizeof(T));
    T* partial = scratch.as<T>();
    launch_grid("norm_backward", column_kernel<T>, cuda,
                {.x = chunks, .y = pieces_of(width, kColumnThreads * kVector), .threads = kColumnThreads}, norm,
                partial, partial + chunks * width);
    add_chunks(cuda, partial, chunks, dweight);
    add_chunks(cuda, partial + chunks * width, chunks, dbias);
  }
  launch_grid("norm_backward", dx_kernel<T>, cuda, row_grid(rows), norm);
}

/// Rows of a block: enough that few sums remain, and few enough that all of a large GPU has work.
template <Team Members>
int64_t rows_of_a_block(int64_t rows) {
  if constexpr (Members == Team::block) return std::clamp<int64_t>(rows / 1024, 8, 128);
  else return std::clamp<int64_t>(rows / 512 / kRowsPerBlock * kRowsPerBlock, kRowsPerBlock, 128);
}

template <class T, Team Members, int Runs>
void run_short(Cuda cuda, const BackwardArguments& norm, const RowSum& dweight, const RowSum& dbias) {
  const int64_t rows = rows_of_a_block<Members>(norm.x.shape[0]), width = norm.x.shape[1];
  const int64_t chunks = pieces_of(norm.x.shape[0], rows);
  const Scratch scratch(cuda, dweight.y || dbias.y ? static_cast<size_t>(2 * chunks * width) * sizeof(T) : 0);
  T* partial = scratch.as<T>();
  launch_grid("norm_backward", norm_kernel<T, Members, Runs>, cuda,
              {.x = chunks,
               .threads = Members == Team::warp ? 32 * kRowsPerBlock : threads_for(width, Runs),
               .shared_bytes = kSharedBytes<T, Members, Runs>},
              norm, rows, dweight.y ? partial : nullptr, dbias.y ? partial + chunks * width : nullptr);
  add_chunks(cuda, partial, chunks, dweight);
  add_chunks(cuda, partial + chunks * width, chunks, dbias);
}

void run(Cuda cuda, const BackwardArguments& norm, const RowSum& dweight, const RowSum& dbias, DType dtype) {
  select_compute(
      [&]<class T>() {
        with_team<T>(norm.x.shape[1], [&]<Team Members, int Runs>() {
          if constexpr (Runs == 0) run_long<T>(cuda, norm, dweight, dbias);
          else run_short<T, Members, Runs>(cuda, norm, dweight, dbias);
        });
      },
      dtype);
}

}  // namespace

void LayerNormBackward::operator()(Cuda cuda) const {
  run(cuda, {x, weight, mean, rstd, dy, dsum, dx, true, normalized}, {dweight, dweight_beta}, {dbias, dbias_beta},
      x.dtype);
}

void RmsNormBackward::operator()(Cuda cuda) const {
  run(cuda, {x, weight, In<1>{}, rstd, dy, dsum, dx, false, normalized}, {dweight, dweight_beta}, {Out<1>{}, 0},
      x.dtype);
}

}  // namespace tessera
