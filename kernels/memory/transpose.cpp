#include "kernels/memory/transpose.h"

#include <algorithm>
#include <cstring>

#include "kernels/memory/convert.h"

namespace tessera {
namespace {

constexpr int64_t kTile = 8;
constexpr int64_t kLine = 16;

using Row = uint32_t __attribute__((vector_size(32)));

/// An 8 × 8 tile in registers: pairs, then pairs of pairs, then halves change places.
template <class T>
void transpose_tile(const T* x, int64_t x_stride, T* y, int64_t y_stride) {
  Row a[8], b[8];
  for (int i = 0; i < 8; ++i) std::memcpy(&a[i], x + i * x_stride, sizeof(Row));
  for (int i = 0; i < 8; i += 2) {
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      a[i + 2 * j] = __builtin_shufflevector(b[i + j], b[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      a[i + 2 * j + 1] = __builtin_shufflevector(b[i + j], b[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; ++i) {
    b[i] = __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    b[i + 4] = __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
  for (int i = 0; i < 8; ++i) std::memcpy(y + i * y_stride, &b[i], sizeof(Row));
}

/// Any part of a matrix up to 8 × 8.
template <class T>
void transpose_part(const T* x, int64_t x_stride, int64_t rows, int64_t columns, T* y, int64_t y_stride) {
  if constexpr (sizeof(T) == 4) {
    if (rows == kTile && columns == kTile) return transpose_tile(x, x_stride, y, y_stride);
  }
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r) y[c * y_stride + r] = x[r * x_stride + c];
  }
}

template <class T>
void transpose_matrix(const In<2>& x, const Out<2>& y) {
  const auto [rows, columns] = x.shape;
  // Tiles below each other in turn, so that a line of y is filled while it is in the cache.
  for (int64_t i = 0; i < rows; i += kLine) {
    const int64_t end = std::min(rows, i + kLine);
    for (int64_t c = 0; c < columns; c += kTile) {
      for (int64_t r = i; r < end; r += kTile) {
        transpose_part(x.as<T>() + r * x.strides[0] + c, x.strides[0], std::min(kTile, end - r),
                       std::min(kTile, columns - c), y.as<T>() + c * y.strides[0] + r, y.strides[0]);
      }
    }
  }
}

}  // namespace

void transpose(const In<2>& x, const Out<2>& y) {
  select_any(x.dtype, [&]<DType T>() { transpose_matrix<CppType<T>>(x, y); });
}

}  // namespace tessera
