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
    for (int k = 0; k < n; ++k) {
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
      x[k] = rstd * (g[k] * w[k] - g_sum - (x[k] - mean) * factor * gs_sum) + other[k];
    }
    store_run(norm.dx, row * norm.dx.strides[0] + c, n, x);
  }
}

/// partial[chunk] = {Σ dy · ŝ, Σ dy} over the rows of a chunk, one thread per column.
template <class T>
__global__ void column_kernel(const __grid_constant__ BackwardArguments norm, T* weight_partial, T* bias_partial) {
  const int64_t c = grid_thread(), width = norm.x.shape[1], chunk = block_index().y;
  if (c >= width) return;
  const int64_t end =
      chunk * kChunkRows + kChunkRows < norm.x.shape[0] ? chunk * kChunkRows + kChunkRows : norm.x.shape[0];
  T dweight = 0, dbias = 0;
  for (int64_t row = chunk * kChunkRows; row < end; ++row) {
    const T mean = norm.mean ? norm.mean.as<T>()[row * norm.mean.strides[0]] : T(0);
    const T factor = norm.normalized ? T(1) : norm.rstd.as<T>()[row * norm.rstd.strides[0]];
    const T x = load_one<T>(norm.x, row * norm.x.strides[0] + c),
            g = load_one<T>(norm.dy, row * norm.dy.strides[0] + c);
    dweight += g * ((x - mean) * factor);
    dbias += g;
  }
  weight_partial[chunk * width + c] = dweight;
  bias_partial[chunk * width + c] = dbias;
}

template <class T>
__global__ void add_chunks_kernel(const T* partial, int64_t chunks, Elements<1> y, float beta) {
  const int64_t c = grid_thread(), width = y.shape[0];
  if (c >= width) return;
  double total = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += static_cast<double>(partial[chunk * width + c]);
  if (beta != 0) total += static_cast<double>(beta) * load_one<double>(y, c * y.strides[0]);
  store_one(y, c * y.strides[0], total);
}

/// Where a sum over rows goes.
struct RowSum {
  Out<1> y;
  float beta;
};

template <class T>
void sum_rows(Cuda cuda, const BackwardArguments& norm, const RowSum& dweight, const RowSum& dbias) {
  const int64_t rows = norm.x.shape[0], width = norm.x.shape[1], chunks = pieces_of(rows, kChunkRows);
  const Scratch scratch(cuda, static_cast<size_t>(2 * chunks * width) * sizeof(T));
  T* partial = scratch.as<T>();
  launch_grid("norm_backward", column_kernel<T>, cuda, {.x = pieces_of(width, 128), .y = chunks, .threads = 128}, norm,
              partial, partial + chunks * width);
  const Grid grid{.x = pieces_of(width, 128), .threads = 128};
  if (dweight.y)
    launch_grid("norm_backward", add_chunks_kernel<T>, cuda, grid, partial, chunks, dweight.y, dweight.beta);
  if (dbias.y)
    launch_grid("norm_backward", add_chunks_kernel<T>, cuda, grid, partial + chunks * width, chunks, dbias.y,
                dbias.beta);
}

void run(Cuda cuda, const BackwardArguments& norm, const RowSum& dweight, const RowSum& dbias, DType dtype) {
  select_compute(
      [&]<class T>() {
        // First the sums over rows: dx may be the memory of dy.
        if (dweight.y || dbias.y) sum_rows<T>(cuda, norm, dweight, dbias);
        launch_grid("norm_backward", dx_kernel<T>, cuda, row_grid(norm.x.shape[0]), norm);
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
