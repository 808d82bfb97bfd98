#include "kernels/common/cuda/elements.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/cross_entropy/cross_entropy.h"

namespace tessera {
namespace {

constexpr int kThreads = 256;

template <class T>
struct Room {
  T values[32];
};

template <class T>
__global__ void forward_kernel(Elements<2> logits, Elements<1> targets, int32_t ignore_index, Elements<1> loss,
                               Elements<1> lse, int32_t* status) {
  auto& room = shared_memory<Room<T>>();
  const int64_t row = block_index().x, width = logits.shape[1];
  const int32_t target = targets.as<int32_t>()[row * targets.strides[0]];
  T* loss_at = loss.as<T>() + row * loss.strides[0];
  T* lse_at = lse.as<T>() + row * lse.strides[0];
  if (target == ignore_index || target < 0 || target >= width) {
    if (thread_index() != 0) return;
    if (target != ignore_index) atomic_max(status, static_cast<int32_t>(row + 1));
    *loss_at = 0;
    *lse_at = 0;
    return;
  }
  // Each thread keeps a maximum and a sum relative to it.
  T max = -INFINITY, sum = 0;
  bool has_nan = false;
  for (int64_t c = thread_index() * kVector; c < width; c += kThreads * kVector) {
    const int n = run_length(width - c);
    T x[kVector];
    load_run(logits, row * logits.strides[0] + c, n, x);
    T highest = max;
#pragma unroll
    for (int k = 0; k < kVector; ++k) highest = k < n && x[k] > highest ? x[k] : highest;
    if (highest != max) {
      sum *= exp(max - highest);
      max = highest;
    }
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      has_nan = has_nan || x[k] != x[k];
      if (k < n && max != -INFINITY) sum += exp(x[k] - max);
    }
  }
  const T highest = block_reduce(max, room.values, Largest{});
  const T shift = highest == -INFINITY ? T(0) : highest;
  const T total = block_reduce(has_nan ? T(NAN) : sum * exp(max - shift), room.values, Plus{});
  if (thread_index() != 0) return;
  const T log_sum = log(total);
  *loss_at = (highest - load_one<T>(logits, row * logits.strides[0] + target)) + log_sum;
  *lse_at = highest + log_sum;
}

template <class T>
__global__ void backward_kernel(Elements<2> logits, Elements<1> targets, int32_t ignore_index, Elements<1> lse,
                                Elements<1> dloss, double scale, Elements<2> dlogits) {
  const int64_t row = block_index().x, width = logits.shape[1];
  const int32_t target = targets.as<int32_t>()[row * targets.strides[0]];
  const bool counts = target != ignore_index && target >= 0 && target < width;
  const T at = lse.as<T>()[row * lse.strides[0]];
  const T factor = static_cast<T>((dloss ? load_one<double>(dloss, 0) : 1.0) * scale);
  for (int64_t c = thread_index() * kVector; c < width; c += kThreads * kVector) {
    const int n = run_length(width - c);
    T x[kVector];
    load_run(logits, row * logits.strides[0] + c, n, x);
#pragma unroll
    for (int k = 0; k < kVector; ++k)
      x[k] = counts ? factor * exp(x[k] - at) - (c + k == target ? factor : T(0)) : T(0);
    store_run(dlogits, row * dlogits.strides[0] + c, n, x);
  }
}

}  // namespace

void CrossEntropyForward::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() {
        launch_grid("cross_entropy", forward_kernel<T>, cuda,
                    {.x = logits.shape[0], .threads = kThreads, .shared_bytes = sizeof(Room<T>)}, logits, targets,
                    ignore_index, loss, lse, status);
      },
      logits.dtype);
}

void CrossEntropyBackward::operator()(Cuda cuda) const {
  const In<1> factor{dloss.data, dloss.dtype, {1}, {1}};
  select_compute(
      [&]<class T>() {
        launch_grid("cross_entropy_backward", backward_kernel<T>, cuda, {.x = logits.shape[0], .threads = kThreads},
                    logits, targets, ignore_index, lse, factor, scale, dlogits);
      },
      logits.dtype);
}

}  // namespace tessera
