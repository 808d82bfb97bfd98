#include "kernels/common/cuda/elements.cuh"
#include "kernels/common/cuda/scratch.h"
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

// ── Backward: sort the rows by id, sum pieces of the sorted list, add up the pieces that share an id ──

/// A row and its id, ordered by id and then by row; no two are equal.
using Key = uint64_t;
constexpr uint32_t kOutside = 0xffffffffu;  ///< the id of rows that belong to no row of the table

__device__ Key key_of(uint32_t id, int64_t row) { return static_cast<Key>(id) << 32 | static_cast<Key>(row); }
__device__ uint32_t id_of(Key key) { return static_cast<uint32_t>(key >> 32); }
__device__ int64_t row_of(Key key) { return static_cast<int64_t>(key & 0xffffffffu); }

constexpr int kSortThreads = 256;

struct SortSmem {
  Key keys[kSortThreads];
};

/// Sorts runs of kSortThreads rows: a key's place is the number of smaller ones.
__global__ void sort_kernel(Elements<1> ids, int64_t vocabulary, Key* sorted) {
  auto& smem = shared_memory<SortSmem>();
  const int64_t rows = ids.shape[0], row = grid_thread(), begin = row - thread_index();
  uint32_t id = kOutside;
  if (row < rows) {
    const int32_t given = ids.as<int32_t>()[row * ids.strides[0]];
    if (given >= 0 && given < vocabulary) id = static_cast<uint32_t>(given);
  }
  const Key mine = key_of(id, row);
  smem.keys[thread_index()] = mine;
  sync_threads();
  int place = 0;
#pragma unroll 8
  for (int i = 0; i < kSortThreads; ++i) place += smem.keys[i] < mine;
  if (row < rows) sorted[begin + place] = mine;
}

/// The number of keys before `key` in a sorted list.
__device__ int64_t count_before(const Key* sorted, int64_t count, Key key) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (sorted[middle] < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/// Merges neighbouring sorted runs of `length` keys: a key's place is its own plus that in the other run.
__global__ void merge_kernel(const Key* from, int64_t rows, int64_t length, Key* to) {
  const int64_t i = grid_thread();
  if (i >= rows) return;
  const int64_t run = i / length, begin = run * length, other = (run ^ 1) * length;
  const int64_t left = rows - other, count = left < 0 ? 0 : left < length ? left : length;
  const int64_t first = begin < other ? begin : other;
  to[first + (i - begin) + count_before(from + other, count, from[i])] = from[i];
}

constexpr int kPiece = 16;     ///< sorted rows that are summed in one go
constexpr int kThreads = 128;  ///< each has kVector neighbouring columns
constexpr int64_t kColumns = kThreads * kVector;

/// The rows of dy by id, and room for sums that reach over the border of a piece: two rows per piece.
struct SortedRows {
  const Key* keys;
  int64_t count;
  Elements<2> partial;  ///< [2 · pieces, C]
};

__device__ int64_t first_column() { return block_index().y * kColumns + thread_index() * kVector; }

template <class T>
__device__ void add_to_row(const Elements<2>& y, int64_t row, int64_t column, int n, const T (&sum)[kVector]) {
  T total[kVector];
  const int64_t at = row * y.strides[0] + column * y.strides[1];
  load_run(y, at, n, total, y.strides[1]);
#pragma unroll
  for (int k = 0; k < kVector; ++k) total[k] += sum[k];
  store_run(y, at, n, total, y.strides[1]);
}

/// Sums the runs of one id within a piece. A run that lies in it altogether joins the table's gradient; one that came
/// from the piece before goes to the first partial row, one that goes on from here to the second.
template <class T>
__global__ void __launch_bounds__(kThreads) pieces_kernel(Elements<2> dy, SortedRows sorted, Elements<2> dtable) {
  const int64_t piece = block_index().x, begin = piece * kPiece, column = first_column(), width = dy.shape[1];
  if (column >= width) return;
  const int n = run_length(width - column);
  const int64_t end = begin + kPiece < sorted.count ? begin + kPiece : sorted.count;
  bool from_before = begin > 0 && id_of(sorted.keys[begin - 1]) == id_of(sorted.keys[begin]);
  T sum[kVector] = {};
  for (int64_t i = begin; i < end; ++i) {
    const Key key = sorted.keys[i];
    const uint32_t id = id_of(key);
    if (id == kOutside) return;
    T values[kVector];
    load_run(dy, row_of(key) * dy.strides[0] + column, n, values);
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[k] += values[k];
    const bool goes_on = i + 1 < sorted.count && id_of(sorted.keys[i + 1]) == id;
    if (goes_on && i + 1 < end) continue;
    if (from_before || goes_on) store_run(sorted.partial, (2 * piece + (from_before ? 0 : 1)) * width + column, n, sum);
    else add_to_row(dtable, id, column, n, sum);
    from_before = false;
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[k] = 0;
  }
}

/// Adds up, in their order, the partial sums of the id whose rows begin in this block's piece and go on in the next.
template <class T>
__global__ void __launch_bounds__(kThreads) joins_kernel(SortedRows sorted, Elements<2> dtable) {
  const int64_t piece = block_index().x, border = (piece + 1) * kPiece, column = first_column();
  const int64_t width = dtable.shape[1];
  if (column >= width) return;
  const uint32_t id = id_of(sorted.keys[border - 1]);
  const bool began_before = piece > 0 && id_of(sorted.keys[piece * kPiece - 1]) == id;
  if (id == kOutside || began_before || id_of(sorted.keys[border]) != id) return;
  const int n = run_length(width - column);
  const int64_t end = border + count_before(sorted.keys + border, sorted.count - border, key_of(id + 1, 0));
  T sum[kVector];
  load_run(sorted.partial, (2 * piece + 1) * width + column, n, sum);
#pragma unroll 4
  for (int64_t next = piece + 1; next * kPiece < end; ++next) {
    T more[kVector];
    load_run(sorted.partial, 2 * next * width + column, n, more);
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[k] += more[k];
  }
  add_to_row(dtable, id, column, n, sum);
}

/// Sorts the rows of `ids`; the keys end up in one of two buffers.
const Key* sort_rows(Cuda cuda, const In<1>& ids, int64_t vocabulary, Key* keys, Key* spare) {
  const int64_t rows = ids.shape[0], blocks = pieces_of(rows, kSortThreads);
  launch_grid("embedding_backward", sort_kernel, cuda,
              {.x = blocks, .threads = kSortThreads, .shared_bytes = sizeof(SortSmem)}, ids, vocabulary, keys);
  for (int64_t length = kSortThreads; length < rows; length *= 2) {
    launch_grid("embedding_backward", merge_kernel, cuda, {.x = blocks, .threads = kSortThreads}, keys, rows, length,
                spare);
    std::swap(keys, spare);
  }
  return keys;
}

template <class T>
void add_rows(const EmbeddingBackward& op, Cuda cuda) {
  const int64_t rows = op.dy.shape[0], width = op.dy.shape[1], pieces = pieces_of(rows, kPiece);
  const Scratch keys(cuda, static_cast<size_t>(2 * rows) * sizeof(Key));
  const Scratch room(cuda, static_cast<size_t>(2 * pieces * width) * sizeof(T));
  const Out<2> partial{room.as<T>(), op.dtable.dtype, {2 * pieces, width}, {width, 1}};
  const SortedRows sorted{sort_rows(cuda, op.ids, op.dtable.shape[0], keys.as<Key>(), keys.as<Key>() + rows), rows,
                          partial};
  const Grid grid{.x = pieces, .y = pieces_of(width, kColumns), .threads = kThreads};
  launch_grid("embedding_backward", pieces_kernel<T>, cuda, grid, op.dy, sorted, op.dtable);
  Grid borders = grid;
  borders.x = pieces - 1;
  launch_grid("embedding_backward", joins_kernel<T>, cuda, borders, sorted, op.dtable);
}

void zero(const Out<2>& y, Cuda cuda) {
  const auto fill = [&](void* data, int64_t n) { Fill{.y = {data, y.dtype, {n}, {y.strides[1]}}, .value = 0}(cuda); };
  if (y.strides[0] == y.shape[1] * y.strides[1]) return fill(y.data, y.numel());
  for (int64_t r = 0; r < y.shape[0]; ++r)
    fill(static_cast<char*>(y.data) + r * y.strides[0] * size_of(y.dtype), y.shape[1]);
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
  if (beta == 0) zero(dtable, cuda);
  if (dy.shape[0] == 0) return;
  expect(dy.shape[0] < int64_t{1} << 31 && dtable.shape[0] < int64_t{1} << 31,
         "embedding: {} rows and a table of {} rows; at most 2^31 of each", dy.shape[0], dtable.shape[0]);
  select_compute([&]<class T>() { add_rows<T>(*this, cuda); }, dtable.dtype);
}

}  // namespace tessera
