#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/embedding/embedding.h"

namespace tessera {
namespace {

constexpr int64_t kColumns = 128;        // a table row's gradient is summed this many columns at a time
constexpr int64_t kRowsPerPartial = 64;  // so many rows of dy are summed before they join the total

int32_t id_of(const In<1>& ids, int64_t r) { return ids.as<int32_t>()[r * ids.strides[0]]; }

bool inside(int64_t id, const In<2>& table) { return id >= 0 && id < table.shape[0]; }

template <class T>
void add_rows(const T* a, const T* b, int64_t n, T* y) {
#pragma omp simd
  for (int64_t c = 0; c < n; ++c) y[c] = a[c] + b[c];
}

// Row r of y: a row of the table, and a row of the positions where there are any.
template <class T>
void forward_row(const EmbeddingForward& op, int64_t r, T* buffer) {
  const int64_t width = op.y.shape[1], at_y = r * op.y.strides[0];
  const int64_t id = id_of(op.ids, r);
  int64_t position = 0;
  if (op.positions) position = op.position_ids ? id_of(op.position_ids, r) : op.position_start + r % op.position_period;
  if (!inside(id, op.table) || (op.positions && !inside(position, op.positions))) {
    raise_status(op.status, static_cast<int32_t>(r + 1));
    std::memset(address_of(op.y.data, op.y.dtype, at_y), 0, width * size_of(op.y.dtype));
    return;
  }
  const int64_t at_table = id * op.table.strides[0];
  if (!op.positions && op.table.dtype == op.y.dtype) {
    std::memcpy(address_of(op.y.data, op.y.dtype, at_y), address_of(op.table.data, op.table.dtype, at_table),
                width * size_of(op.y.dtype));
    return;
  }
  const T* row = load_run(op.table, at_table, width, buffer);
  if (!op.positions) return convert_out(row, width, address_of(op.y.data, op.y.dtype, at_y), op.y.dtype, 1);
  T* y = target_run(op.y, at_y, buffer + 2 * width);
  add_rows(row, load_run(op.positions, position * op.positions.strides[0], width, buffer + width), width, y);
  store_run(y, op.y, at_y, width);
}

// The rows of dy that belong to each row of the table, in order: those of v are rows[first[v]] … rows[first[v + 1] −
// 1].
struct Occurrences {
  std::vector<int64_t> first, rows;

  Occurrences(const In<1>& ids, int64_t vocabulary) : first(vocabulary + 1), rows(ids.shape[0]) {
    const auto known = [&](int64_t r) { return id_of(ids, r) >= 0 && id_of(ids, r) < vocabulary; };
    for (int64_t r = 0; r < ids.shape[0]; ++r) {
      if (known(r)) ++first[id_of(ids, r) + 1];
    }
    for (int64_t v = 0; v < vocabulary; ++v) first[v + 1] += first[v];
    std::vector<int64_t> next(first.begin(), first.end() - 1);
    for (int64_t r = 0; r < ids.shape[0]; ++r) {
      if (known(r)) rows[next[id_of(ids, r)]++] = r;
    }
  }
};

// Columns [column, column + n) of row v of the table's gradient.
template <class T>
void backward_tile(const EmbeddingBackward& op, const Occurrences& occurrences, int64_t v, int64_t column, int64_t n) {
  const int64_t begin = occurrences.first[v], end = occurrences.first[v + 1];
  T* gradient = op.dtable.as<T>() + v * op.dtable.strides[0] + column;
  if (op.beta == 0) std::fill_n(gradient, n, T{0});
  T partial[kColumns], buffer[kColumns];
  for (int64_t i = begin; i < end; i += kRowsPerPartial) {
    std::fill_n(partial, n, T{0});
    for (int64_t k = i; k < std::min(end, i + kRowsPerPartial); ++k) {
      const T* dy = load_run(op.dy, occurrences.rows[k] * op.dy.strides[0] + column, n, buffer);
      add_rows(partial, dy, n, partial);
    }
    add_rows(gradient, partial, n, gradient);
  }
}

template <class T>
void backward(const EmbeddingBackward& op) {
  const int64_t vocabulary = op.dtable.shape[0], width = op.dtable.shape[1];
  const int64_t blocks = (width + kColumns - 1) / kColumns;
  const Occurrences occurrences(op.ids, vocabulary);
  // Block after block of columns, so that threads share the work evenly whatever ids are frequent.
  parallel_for(vocabulary * blocks, kElementGrain / kColumns, [&](int64_t tile) {
    const int64_t column = tile / vocabulary * kColumns;
    backward_tile<T>(op, occurrences, tile % vocabulary, column, std::min(kColumns, width - column));
  });
}

}  // namespace

void EmbeddingForward::operator()(Cpu) const {
  select_compute(
      [&]<class T>() {
        parallel_chunks(y.shape[0], row_grain(y.shape[1]), [&](int64_t begin, int64_t end) {
          const auto buffer = scratch<T>(3 * y.shape[1]);
          for (int64_t r = begin; r < end; ++r) forward_row(*this, r, buffer.get());
        });
      },
      y.dtype);
}

void EmbeddingBackward::operator()(Cpu) const {
  select_compute([&]<class T>() { backward<T>(*this); }, dtable.dtype);
}

}  // namespace tessera
