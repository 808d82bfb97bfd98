// A block owns a row. Where the gradient is wanted with the loss, the row waits in shared memory between the sums over
// it and its gradient; every thread reads only what it brought there itself, so no barrier stands in between.
#include "kernels/common/cuda/elements.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/cross_entropy/cross_entropy.h"

namespace tessera {
namespace {

constexpr int kMostThreads = 512;
constexpr int kBatch = 2;  ///< runs that a thread asks for before it uses the first

struct LossArguments {
  Elements<2> logits;
  Elements<1> targets;
  int32_t ignore_index;
  Elements<1> loss, lse;
  int32_t* status;
  Elements<1> dloss;
  double scale;
  Elements<2> dlogits;
  bool keeps_row;  ///< in shared memory
};

/// The elements of the row follow.
template <class T>
struct alignas(16) Smem {
  T room[32];
};

/// One row of a matrix, wherever it lies.
struct Row {
  Elements<2> elements;
  int64_t offset;
};

__device__ Row row_of(const Elements<2>& x, int64_t r) { return {x, r * x.strides[0]}; }

__device__ int64_t first_of_thread() { return static_cast<int64_t>(thread_index()) * kVector; }
__device__ int64_t step_of_block() { return static_cast<int64_t>(thread_count()) * kVector; }

/// e^x within 2^-20 for the differences that matter here, |x| < 16; two instructions in f32.
__device__ float exp_of(float x) { return exp2_approx(x * 1.44269504f); }
__device__ double exp_of(double x) { return exp(x); }

/// What exponents are relative to: −∞ − −∞ would be NaN.
template <class T>
__device__ T shift_of(T highest) {
  return highest == -INFINITY ? T(0) : highest;
}

/// Σ exp of what was seen so far, relative to its maximum.
template <class T>
struct OnlineSum {
  T max, sum;

  __device__ void add(const T (&x)[kVector]) {
    T highest = max;
#pragma unroll
    for (int k = 0; k < kVector; ++k) highest = x[k] > highest ? x[k] : highest;
    const T shift = shift_of(highest);
    if (highest != max) {
      sum *= exp_of(max - shift);
      max = highest;
    }
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum += exp_of(x[k] - shift);
  }
};

/// Copies this thread's runs of a row into shared memory: whole chunks on their own way where addresses allow it.
template <class T>
__device__ Row keep(const Row& row, int64_t width, Smem<T>& smem) {
  const int64_t size = bytes_per_element(row.elements.dtype);
  char* to = reinterpret_cast<char*>(&smem + 1);
  const char* from = row.elements.data + row.offset * size;
  Row kept{row.elements, 0};
  kept.elements.data = to;
  const bool aligned = reinterpret_cast<uintptr_t>(from) % 16 == 0;
  for (int64_t c = first_of_thread(); c < width; c += step_of_block()) {
    const int n = run_length(width - c);
    if (aligned) {
      const int64_t end = (c + n) * size;
      for (int64_t b = c * size; b < end; b += 16)
        cp_async_16(to + b, from + b, end - b < 16 ? static_cast<int>(end - b) : 16);
    } else {
      T x[kVector];
      load_run(row.elements, row.offset + c, n, x);
      store_run(kept.elements, c, n, x);
    }
  }
  cp_async_commit();
  cp_async_wait<0>();
  return kept;
}

template <class T>
__device__ OnlineSum<T> sum_of(const Row& row, int64_t width) {
  OnlineSum<T> total{-INFINITY, 0};
  for (int64_t c = first_of_thread(); c < width; c += kBatch * step_of_block()) {
    T x[kBatch][kVector];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int64_t at = c + i * step_of_block();
      fetch_run(row.elements, row.offset + at, at < width ? run_length(width - at) : 0, x[i]);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int64_t left = width - c - i * step_of_block();
      widen_run(row.elements.dtype, x[i]);
      if (left < kVector) {
#pragma unroll
        for (int k = 0; k < kVector; ++k) x[i][k] = k < left ? x[i][k] : -INFINITY;
      }
      if (left > 0) total.add(x[i]);
    }
  }
  return total;
}

template <class T>
__device__ void write_gradient(const Row& row, int64_t width, int32_t target, T lse, T factor, const Row& to) {
  for (int64_t c = first_of_thread(); c < width; c += step_of_block()) {
    const int n = run_length(width - c);
    const int hit = target >= c && target < c + n ? static_cast<int>(target - c) : -1;
    T x[kVector];
    load_run(row.elements, row.offset + c, n, x);
#pragma unroll
    for (int k = 0; k < kVector; ++k) x[k] = factor * exp_of(x[k] - lse) - (k == hit ? factor : T(0));
    store_run(to.elements, to.offset + c, n, x);
  }
}

template <class T>
__device__ void write_zeros(int64_t width, const Row& to) {
  const T zeros[kVector] = {};
  for (int64_t c = first_of_thread(); c < width; c += step_of_block())
    store_run(to.elements, to.offset + c, run_length(width - c), zeros);
}

__device__ double one_or(const Elements<1>& x) { return x ? load_one<double>(x, 0) : 1.0; }

template <class T>
__device__ void set(const Elements<1>& y, int64_t i, T value) {
  y.as<T>()[i * y.strides[0]] = value;
}

/// Two blocks share an SM, where f32 leaves registers for that.
template <class T>
inline constexpr int kBlocksPerSm = sizeof(T) == sizeof(float) ? 2 : 1;

template <class T>
__global__ void __launch_bounds__(kMostThreads, kBlocksPerSm<T>) loss_kernel(const __grid_constant__ LossArguments op) {
  auto& smem = shared_memory<Smem<T>>();
  const int64_t r = block_index().x, width = op.logits.shape[1];
  const int32_t target = op.targets.as<int32_t>()[r * op.targets.strides[0]];
  const bool first = thread_index() == 0;
  if (target == op.ignore_index || target < 0 || target >= width) {
    if (op.dlogits) write_zeros<T>(width, row_of(op.dlogits, r));
    if (!first) return;
    if (target != op.ignore_index) atomic_max(op.status, static_cast<int32_t>(r + 1));
    set(op.loss, r, T(0));
    set(op.lse, r, T(0));
    return;
  }
  Row row = row_of(op.logits, r);
  if (op.keeps_row) row = keep(row, width, smem);
  const T picked =
      first ? load_one<T>(op.logits, r * op.logits.strides[0] + target) : T(0);  // dlogits may overwrite it
  const OnlineSum<T> mine = sum_of<T>(row, width);
  const T highest = block_reduce(mine.max, smem.room, Largest{}), shift = shift_of(highest);
  const T log_sum = log(block_reduce(mine.sum * exp_of(mine.max - shift), smem.room, Plus{}));
  if (first) {
    set(op.loss, r, (highest - picked) + log_sum);
    set(op.lse, r, highest + log_sum);
  }
  if (!op.dlogits) return;
  const T factor = static_cast<T>(one_or(op.dloss) * op.scale);
  write_gradient(row, width, target, highest + log_sum, factor, row_of(op.dlogits, r));
}

template <class T>
__global__ void __launch_bounds__(kMostThreads, kBlocksPerSm<T>)
    gradient_kernel(Elements<2> logits, Elements<1> targets, int32_t ignore_index, Elements<1> lse, Elements<1> dloss,
                    double scale, Elements<2> dlogits) {
  const int64_t r = block_index().x, width = logits.shape[1];
  const int32_t target = targets.as<int32_t>()[r * targets.strides[0]];
  if (target == ignore_index || target < 0 || target >= width) return write_zeros<T>(width, row_of(dlogits, r));
  write_gradient(row_of(logits, r), width, target, lse.as<T>()[r * lse.strides[0]],
                 static_cast<T>(one_or(dloss) * scale), row_of(dlogits, r));
}

constexpr int64_t kCorrectionBlocks = 1024;

template <class T>
__global__ void correction_kernel(Elements<1> expected, Elements<1> arriving, Elements<2> dlogits) {
  const double wanted = one_or(arriving), formed = one_or(expected);
  if (wanted == formed) return;
  const T factor = static_cast<T>(wanted / formed);
  for (int64_t r = block_index().x; r < dlogits.shape[0]; r += kCorrectionBlocks) {
    for (int64_t c = first_of_thread(); c < dlogits.shape[1]; c += step_of_block()) {
      const int n = run_length(dlogits.shape[1] - c);
      const Row row = row_of(dlogits, r);
      T x[kVector];
      load_run(dlogits, row.offset + c, n, x);
#pragma unroll
      for (int k = 0; k < kVector; ++k) x[k] *= factor;
      store_run(dlogits, row.offset + c, n, x);
    }
  }
}

Grid grid_for(const In<2>& logits) {
  const int64_t warps = pieces_of(logits.shape[1], 2 * 32 * kVector);
  return {.x = logits.shape[0], .threads = static_cast<int>(std::clamp<int64_t>(32 * warps, 32, kMostThreads))};
}

In<1> scalar(const In<0>& x) { return {x.data, x.dtype, {1}, {1}}; }

}  // namespace

void CrossEntropyForward::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() {
        Grid grid = grid_for(logits);
        const size_t kept = sizeof(Smem<T>) + pieces_of(logits.shape[1] * size_of(logits.dtype), 16) * 16;
        const bool keeps_row = dlogits && block_may_share(cuda, kept);
        grid.shared_bytes = keeps_row ? kept : sizeof(Smem<T>);
        const LossArguments arguments{logits, targets,       ignore_index, loss,    lse,
                                      status, scalar(dloss), scale,        dlogits, keeps_row};
        launch_grid("cross_entropy", loss_kernel<T>, cuda, grid, arguments);
      },
      logits.dtype);
}

void CrossEntropyBackward::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() {
        launch_grid("cross_entropy_backward", gradient_kernel<T>, cuda, grid_for(logits), logits, targets, ignore_index,
                    lse, scalar(dloss), scale, dlogits);
      },
      logits.dtype);
}

void CrossEntropyCorrection::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() {
        Grid grid = grid_for(read_only(dlogits));
        grid.x = std::min(grid.x, kCorrectionBlocks);
        launch_grid("cross_entropy_backward", correction_kernel<T>, cuda, grid, scalar(expected), scalar(arriving),
                    dlogits);
      },
      dlogits.dtype);
}

}  // namespace tessera
