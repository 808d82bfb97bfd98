// Double products: blocks of 4 rows × 16 columns stay in registers while they run down K.
#include <algorithm>

#include "kernels/matmul/product.h"

namespace tessera {
namespace {

constexpr int64_t kRows = 4;
constexpr int64_t kColumns = 16;

/// The block of c at (row, column), `rows` × `columns` large; `a` may be strided in both directions.
void multiply_block(const Product& product, int64_t row, int64_t column, int64_t rows, int64_t columns) {
  const auto& [a, b, c, accumulate, packed_b] = product;
  double sums[kRows][kColumns] = {};
  const double* left = a.as<double>() + row * a.strides[0];
  const double* right = b.as<double>() + column;
  for (int64_t k = 0; k < a.shape[1]; ++k, left += a.strides[1], right += b.strides[0]) {
    if (rows == kRows && columns == kColumns) {
      for (int64_t i = 0; i < kRows; ++i)
        for (int64_t j = 0; j < kColumns; ++j) sums[i][j] += left[i * a.strides[0]] * right[j];
    } else {
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) sums[i][j] += left[i * a.strides[0]] * right[j];
    }
  }
  for (int64_t i = 0; i < rows; ++i) {
    double* to = c.as<double>() + (row + i) * c.strides[0] + column;
    for (int64_t j = 0; j < columns; ++j) to[j] = accumulate ? to[j] + sums[i][j] : sums[i][j];
  }
}

}  // namespace

void multiply_f64(const Product& product) {
  const auto [rows, columns] = product.c.shape;
  for (int64_t j = 0; j < columns; j += kColumns)
    for (int64_t i = 0; i < rows; i += kRows)
      multiply_block(product, i, j, std::min(kRows, rows - i), std::min(kColumns, columns - j));
}

}  // namespace tessera
