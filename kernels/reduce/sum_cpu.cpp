// Work is cut into tiles of [kSumRows rows of n] × [kRun columns], or runs of kSumRun elements where columns are not
// neighbours. A tile sums in f32; the tiles of a column are added in order in f64. Both are functions of the shape
// only.
#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/reduce/sum.h"

namespace tessera {
namespace {

constexpr int64_t kSumRows = 128;
constexpr int64_t kSumRun = 4096;

// partial[c] = Σ of `rows` rows from `offset` on; four at a time, so that partial is loaded and stored less often.
template <class T>
void sum_columns(const In<3>& x, int64_t offset, int64_t rows, int64_t columns, T* partial) {
  T buffer[4][kRun];
  std::fill_n(partial, columns, T{0});
  const auto row = [&](int64_t r, T* memory) { return load_run(x, offset + r * x.strides[1], columns, memory); };
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const T* row0 = row(r, buffer[0]);
    const T* row1 = row(r + 1, buffer[1]);
    const T* row2 = row(r + 2, buffer[2]);
    const T* row3 = row(r + 3, buffer[3]);
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) partial[c] += (row0[c] + row1[c]) + (row2[c] + row3[c]);
  }
  for (; r < rows; ++r) {
    const T* last = row(r, buffer[0]);
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) partial[c] += last[c];
  }
}

template <class T>
T sum_run(const In<3>& x, int64_t offset, int64_t n) {
  T buffer[kRun];
  T total = 0;
  for (int64_t i = 0; i < n; i += kRun) {
    const int64_t count = std::min(kRun, n - i);
    const T* run = load_run(x, offset + i * x.strides[1], count, buffer, x.strides[1]);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < count; ++k) sum += run[k];
    total += sum;
  }
  return total;
}

// partials: [outer, pieces, inner].
template <class T>
void sum_tiles(const In<3>& x, int64_t pieces, int64_t piece, bool neighbours, T* partials) {
  const int64_t outer = x.shape[0], n = x.shape[1], inner = x.shape[2];
  const int64_t width = neighbours ? std::min(inner, kRun) : 1;
  const int64_t blocks = (inner + width - 1) / width;
  const int64_t grain = std::max<int64_t>(1, kElementGrain / (std::min(n, piece) * width + 1));
  parallel_for(outer * pieces * blocks, grain, [&](int64_t tile) {
    const int64_t block = tile % blocks, p = tile / blocks % pieces, o = tile / blocks / pieces;
    const int64_t column = block * width, row = p * piece;
    const int64_t columns = std::min(width, inner - column), rows = std::min(piece, n - row);
    const int64_t offset = o * x.strides[0] + row * x.strides[1] + column * x.strides[2];
    T* partial = partials + (o * pieces + p) * inner + column;
    if (neighbours) sum_columns(x, offset, rows, columns, partial);
    else *partial = sum_run<T>(x, offset, rows);
  });
}

// Adds the pieces of `columns` neighbouring columns in order.
template <class T>
void finish_columns(const Sum& sum, int64_t pieces, const T* partials, int64_t offset, int64_t columns) {
  const int64_t inner = sum.y.shape[1], stride = sum.y.strides[1];
  double total[kRun];
  std::fill_n(total, columns, 0.0);
  for (int64_t p = 0; p < pieces; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) total[c] += partials[p * inner + c];
  }
  for (int64_t c = 0; c < columns; ++c) total[c] *= sum.scale;
  if (sum.beta != 0) {
    double buffer[kRun];
    const double* y = load_run(read_only(sum.y), offset, columns, buffer, stride);
    for (int64_t c = 0; c < columns; ++c) total[c] += static_cast<double>(sum.beta) * y[c];
  }
  convert_out(total, columns, address_of(sum.y.data, sum.y.dtype, offset), sum.y.dtype, stride);
}

template <class T>
void run(const Sum& sum) {
  const int64_t outer = sum.x.shape[0], n = sum.x.shape[1], inner = sum.x.shape[2];
  if (outer * inner == 0) return;
  const bool neighbours = sum.x.strides[2] == 1 && inner > 1;
  const int64_t piece = neighbours ? kSumRows : kSumRun;
  const int64_t pieces = std::max<int64_t>(1, (n + piece - 1) / piece);
  const auto partials = scratch<T>(outer * pieces * inner);
  sum_tiles(sum.x, pieces, piece, neighbours, partials.get());
  const int64_t blocks = (inner + kRun - 1) / kRun;
  parallel_for(outer * blocks, std::max<int64_t>(1, kElementGrain / (pieces * inner + 1)), [&](int64_t task) {
    const int64_t o = task / blocks, column = task % blocks * kRun;
    const T* first = partials.get() + o * pieces * inner + column;
    const int64_t offset = o * sum.y.strides[0] + column * sum.y.strides[1];
    finish_columns(sum, pieces, first, offset, std::min(kRun, inner - column));
  });
}

}  // namespace

void Sum::operator()(Cpu) const {
  select_compute([&]<class T>() { run<T>(*this); }, x.dtype, y.dtype);
}

}  // namespace tessera
