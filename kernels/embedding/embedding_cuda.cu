#include "kernels/common/cuda/elements.cuh"
#include "kernels/embedding/embedding.h"
#include "kernels/memory/memory.h"

namespace tessera {
namespace {

constexpr int kRows = 8;  ///< per block, a warp each

struct ForwardArguments {
  Elements<2> table;
  Elements<1> ids;
  Elements<2> positions;
  Elements<1> position_ids;
  int64_t position_start, position_period;
  Elements<2> y;
  int32_t* status;
};

template <class T>
__global__ void forward_kernel(const __grid_constant__ ForwardArguments op) {
  const int64_t row = static_cast<int64_t>(block_index().x) * kRows + warp_index();
  if (row >= op.y.shape[0]) return;
  const int32_t id = op.ids.as<int32_t>()[row * op.ids.strides[0]];
  int64_t position = 0;
  if (op.positions) {
    position = op.position_ids ? op.position_ids.as<int32_t>()[row * op.position_ids.strides[0]]
                               : op.position_start + row % op.position_period;
  }
  const bool inside =
      id >= 0 && id < op.table.shape[0] && (!op.positions || (position >= 0 && position < op.positions.shape[0]));
  if (!inside && lane_index() == 0) atomic_max(op.status, static_cast<int32_t>(row + 1));
  for (int64_t c = lane_index() * kVector; c < op.y.shape[1]; c += 32 * kVector) {
    const int n = run_length(op.y.shape[1] - c);
    T value[kVector] = {}, other[kVector] = {};
    if (inside) load_run(op.table, id * op.table.strides[0] + c, n, value);
    if (inside && op.positions) load_run(op.positions, position * op.positions.strides[0] + c, n, other);
#pragma unroll
    for (int k = 0; k < kVector; ++k) value[k] += other[k];
    store_run(op.y, row * op.y.strides[0] + c, n, value);
  }
}

constexpr int kThreads = 128;
constexpr int kColumns = 4 * kThreads;  ///< per block

struct Matches {
  int32_t same[kThreads];
};

/// The first row that names an id sums all rows that do, in their order; other rows have nothing to do.
template <class T>
__global__ void backward_kernel(Elements<2> dy, Elements<1> ids, Elements<2> dtable) {
  auto& matches = shared_memory<Matches>();
  const int64_t row = block_index().x, rows = dy.shape[0], width = dy.shape[1];
  const int32_t id = ids.as<int32_t>()[row * ids.strides[0]];
  if (id < 0 || id >= dtable.shape[0]) return;
  bool earlier = false;
  for (int64_t r = thread_index(); r < row; r += kThreads)
    earlier = earlier || ids.as<int32_t>()[r * ids.strides[0]] == id;
  if (sync_threads_or(earlier)) return;
  const int64_t first = static_cast<int64_t>(block_index().y) * kColumns + thread_index();
  T total[4] = {};
  for (int64_t begin = row; begin < rows; begin += kThreads) {
    const int64_t r = begin + thread_index();
    const bool same = r < rows && ids.as<int32_t>()[r * ids.strides[0]] == id;
    matches.same[thread_index()] = same;
    const bool any = sync_threads_or(same);
    for (int i = 0; any && i < kThreads; ++i) {
      if (!matches.same[i]) continue;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int64_t c = first + k * kThreads;
        if (c < width) total[k] += load_one<T>(dy, (begin + i) * dy.strides[0] + c);
      }
    }
    sync_threads();
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int64_t c = first + k * kThreads;
    if (c < width) dtable.as<T>()[id * dtable.strides[0] + c * dtable.strides[1]] += total[k];
  }
}

}  // namespace

void EmbeddingForward::operator()(Cuda cuda) const {
  const ForwardArguments arguments{table, ids, positions, position_ids, position_start, position_period, y, status};
  select_compute(
      [&]<class T>() {
        launch_grid("embedding", forward_kernel<T>, cuda, {.x = pieces_of(y.shape[0], kRows), .threads = 32 * kRows},
                    arguments);
      },
      table.dtype, y.dtype);
}

void EmbeddingBackward::operator()(Cuda cuda) const {
  if (beta == 0) {
    const std::array<int64_t, 2>& steps = dtable.strides;
    for (int64_t r = 0; steps[0] != dtable.shape[1] * steps[1] && r < dtable.shape[0]; ++r)
      Fill{.y = {static_cast<char*>(dtable.data) + r * steps[0] * size_of(dtable.dtype),
                 dtable.dtype,
                 {dtable.shape[1]},
                 {steps[1]}},
           .value = 0}(cuda);
    if (steps[0] == dtable.shape[1] * steps[1])
      Fill{.y = {dtable.data, dtable.dtype, {dtable.numel()}, {steps[1]}}, .value = 0}(cuda);
  }
  select_compute(
      [&]<class T>() {
        launch_grid("embedding_backward", backward_kernel<T>, cuda,
                    {.x = dy.shape[0],
                     .y = pieces_of(dy.shape[1], kColumns),
                     .threads = kThreads,
                     .shared_bytes = sizeof(Matches)},
                    dy, ids, dtable);
      },
      dtable.dtype);
}

}  // namespace tessera
