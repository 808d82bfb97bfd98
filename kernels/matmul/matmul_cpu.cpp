// Cuts a batch of products into panels of rows (and of columns, where rows do not occupy all threads) and spreads them
// over the threads. A right-hand side that the library cannot read, or reads slowly, is first copied into a plain
// matrix.
#include <algorithm>

#include <omp.h>

#include "kernels/common/parallel.h"
#include "kernels/matmul/matmul.h"
#include "kernels/matmul/panel.h"
#include "kernels/matmul/product.h"

namespace tessera {
namespace {

constexpr int64_t kSmallestRows = 48;         // lower panels lose more than another thread wins
constexpr int64_t kPanelColumns = 96;         // narrower panels lose more than another thread wins
constexpr int64_t kPanelProducts = 1 << 18;   // multiplications that are worth waking a thread
constexpr int64_t kTransposeRows = 32;        // rows from which on it pays to transpose b
constexpr int64_t kPackedElements = 1 << 20;  // of b at a time
constexpr int64_t kPanelsPerPacking = 6;      // from which on it pays to rearrange b for bf16 panels

int64_t ceil_div(int64_t n, int64_t d) { return (n + d - 1) / d; }
int64_t round_up(int64_t n, int64_t multiple) { return ceil_div(n, multiple) * multiple; }

Panel panel_of(Panel op, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  const auto cut = [=](auto& x) {
    if (x) x = columns_of(rows_of(x, row, rows), column, columns);
  };
  op.a = rows_of(op.a, row, rows);
  op.b = columns_of(op.b, column, columns);
  if (op.bias) op.bias.data = address_of(op.bias.data, op.bias.dtype, column * op.bias.strides[0]);
  cut(op.add);
  cut(op.pre_activation);
  cut(op.slope.pre);
  cut(op.slope.activated);
  cut(op.c);
  return op;
}

/// Rows of a panel: a and c stay in the second-level cache. A bf16 product rearranges b, and a column-major a, for each
/// panel: higher ones repay it.
template <class Factor>
int64_t panel_rows(const In<2>& a) {
  if (!std::is_same_v<Factor, BFloat16>) return 64;
  return is_row_major(a) ? 128 : 256;
}

/// b in this thread's memory, rearranged for bf16 panels; null where the library reads it best as it is.
const void* packed(const In<2>& b) {
  const int64_t bytes = packed_bf16_bytes(b);
  if (bytes == 0) return nullptr;
  void* const memory = workspace<std::byte, 5>(bytes);
  pack_bf16(b, memory);
  return memory;
}

/// All panels of a product whose b is plain.
template <class Factor>
void run_panels(const Panel& op) {
  const int64_t rows = op.c.shape[0], columns = op.c.shape[1];
  const int64_t worth = std::max<int64_t>(1, rows * columns * op.a.shape[1] / kPanelProducts);
  const int64_t threads = std::min<int64_t>(worth, omp_get_max_threads());
  int64_t row_parts = ceil_div(rows, panel_rows<Factor>(op.a));
  if (row_parts < threads) row_parts = std::min(threads, ceil_div(rows, kSmallestRows));
  else row_parts = round_up(row_parts, threads);
  const int64_t height = round_up(ceil_div(rows, std::min(row_parts, worth)), 8);
  const int64_t row_panels = ceil_div(rows, height);
  const int64_t column_parts = std::clamp<int64_t>(threads / row_panels, 1, ceil_div(columns, kPanelColumns));
  const int64_t width = round_up(ceil_div(columns, column_parts), 16);
  const int64_t column_panels = ceil_div(columns, width);
  Panel all = op;
  if (std::is_same_v<Factor, BFloat16> && column_panels == 1 && row_panels >= kPanelsPerPacking && is_row_major(op.a))
    all.packed_b = packed(op.b);
  parallel_for(row_panels * column_panels, 1, [&](int64_t i) {
    const int64_t row = i / column_panels * height;
    const int64_t column = i % column_panels * width;
    run_panel<Factor>(panel_of(all, row, std::min(height, rows - row), column, std::min(width, columns - column)));
  });
}

/// One matrix of the batch; b is made plain, some columns at a time.
template <class Factor>
void run_matrix_as(const Panel& op) {
  const auto [rows, columns] = op.c.shape;
  const int64_t inner = op.a.shape[1];
  const bool needs_rows = std::is_same_v<Factor, double> || (std::is_same_v<Factor, float> && rows >= kTransposeRows);
  if (inner == 0 || (is_plain<Factor>(op.b) && (is_row_major(op.b) || !needs_rows))) return run_panels<Factor>(op);

  const int64_t width = std::min(columns, round_up(ceil_div(kPackedElements, inner), kPanelColumns));
  Factor* const memory = workspace<Factor, 4>(inner * width);
  for (int64_t column = 0; column < columns; column += width) {
    Panel part = panel_of(op, 0, rows, column, std::min(width, columns - column));
    part.b = pack(part.b, memory);
    run_panels<Factor>(part);
  }
}

/// Makes a batch of rows, or of matrices whose rows continue each other, one matrix.
template <class View>
bool merge(View& x) {
  if (x.shape[1] == 1) x.strides[1] = x.strides[0];
  if (x && x.shape[0] > 1 && x.strides[0] != x.shape[1] * x.strides[1]) return false;
  x.shape = {1, x.shape[0] * x.shape[1], x.shape[2]};
  return true;
}

/// The same with a batch of one, where b is the same for all and the others allow it.
MatMul merged(const MatMul& op) {
  MatMul one = op;
  const bool same_b = op.b.strides[0] == 0 || op.b.shape[0] == 1;
  if (!same_b || !merge(one.a) || !merge(one.add) || !merge(one.pre_activation) || !merge(one.c)) return op;
  one.b.shape[0] = 1;
  return one;
}

template <class Matrix, class View>
Matrix matrix_of(const View& x, int64_t i) {
  const auto& [batch, rows, columns] = x.shape;
  const auto data = x ? address_of(x.data, x.dtype, i * x.strides[0]) : nullptr;
  return {data, x.dtype, {rows, columns}, {x.strides[1], x.strides[2]}};
}

void run(const MatMul& op) {
  const int64_t batches = op.c.shape[0];
  const auto run_one = [&](int64_t i) {
    run_matrix({.a = matrix_of<In<2>>(op.a, i),
                .b = matrix_of<In<2>>(op.b, i),
                .bias = op.bias,
                .add = matrix_of<In<2>>(op.add, i),
                .activation = op.activation,
                .pre_activation = matrix_of<Out<2>>(op.pre_activation, i),
                .c = matrix_of<Out<2>>(op.c, i),
                .beta = op.beta});
  };
  // With a matrix for every thread each works on its own; otherwise all work on one after the other.
  if (batches >= omp_get_max_threads()) return parallel_for(batches, 1, run_one);
  for (int64_t i = 0; i < batches; ++i) run_one(i);
}

}  // namespace

void run_matrix(const Panel& op) {
  if (op.a.dtype == DType::f64) run_matrix_as<double>(op);
  else if (op.a.dtype == DType::bf16 && has_bf16_products()) run_matrix_as<BFloat16>(op);
  else run_matrix_as<float>(op);
}

void MatMul::operator()(Cpu) const {
  if (c.numel() > 0) run(merged(*this));
}

}  // namespace tessera
