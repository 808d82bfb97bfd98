#include "kernels/common/cuda/elements.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/common/cuda/scratch.h"
#include "kernels/gradient_scan/gradient_scan.h"

namespace tessera {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMinChunk = 8 * kThreads * kVector;
constexpr int64_t kMaxChunks = 1024;

struct Room {
  double values[32];
};

template <class T>
__global__ void scan_kernel(Elements<1> gradient, int64_t chunk, ScanResult* partial) {
  auto& room = shared_memory<Room>();
  const int64_t begin = static_cast<int64_t>(block_index().x) * chunk;
  const int64_t end = begin + chunk < gradient.shape[0] ? begin + chunk : gradient.shape[0];
  double sum = 0;
  bool infinite = false;
  for (int64_t i = begin + thread_index() * kVector; i < end; i += kThreads * kVector) {
    T values[kVector];
    load_run(gradient, i, run_length(end - i), values);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      sum += static_cast<double>(values[k]) * static_cast<double>(values[k]);
      infinite = infinite || !isfinite(values[k]);
    }
  }
  sum = block_reduce(sum, room.values, Plus{});
  infinite = sync_threads_or(infinite);
  if (thread_index() == 0) partial[block_index().x] = {sum, infinite ? 0 : 1, 0};
}

/// One block; every thread adds the pieces that are its own in their order, then all threads do.
__global__ void __launch_bounds__(kThreads)
    finish_kernel(const ScanResult* partial, int64_t chunks, ScanResult* result) {
  auto& room = shared_memory<Room>();
  double sum = 0;
  bool infinite = false;
  for (int64_t i = thread_index(); i < chunks; i += kThreads) {
    sum += partial[i].squared_norm;
    infinite = infinite || partial[i].finite == 0;
  }
  sum = block_reduce(sum, room.values, Plus{});
  infinite = sync_threads_or(infinite);
  if (thread_index() != 0) return;
  result->squared_norm += sum;
  if (infinite) result->finite = 0;
}

}  // namespace

void GradientScan::operator()(Cuda cuda) const {
  const int64_t n = gradient.shape[0];
  if (n == 0) return;
  const int64_t chunk = std::max(kMinChunk, pieces_of(pieces_of(n, kMaxChunks), kVector) * kVector);
  const int64_t chunks = pieces_of(n, chunk);
  const Scratch scratch(cuda, static_cast<size_t>(chunks) * sizeof(ScanResult));
  auto* partial = scratch.as<ScanResult>();
  select_compute(
      [&]<class T>() {
        launch_grid("gradient_scan", scan_kernel<T>, cuda,
                    {.x = chunks, .threads = kThreads, .shared_bytes = sizeof(Room)}, gradient, chunk, partial);
      },
      gradient.dtype);
  launch_grid("gradient_scan", finish_kernel, cuda, {.threads = kThreads, .shared_bytes = sizeof(Room)}, partial,
              chunks, result);
}

}  // namespace tessera
