// The product of two matrices on the calling thread. Whoever calls cuts the work into panels, spreads them over the
// threads and adds everything else: a product has no threads and no batch.
#pragma once

#include "kernels/common/view.h"

namespace tessera {

/// c = a·b, or c += a·b for `accumulate`. Extents are at least 1. In a and b one of the strides is 1 (or its extent is)
/// and the other at least as large as the rows or columns it steps over; c has unit stride in N.
struct Product {
  In<2> a;   ///< [M, K]
  In<2> b;   ///< [K, N]
  Out<2> c;  ///< [M, N]
  bool accumulate;
  const void* packed_b = nullptr;  ///< bf16: what `pack_bf16` made of b, where there is any
};

/// All f32: by the library the program was built with (oneDNN, else OpenBLAS).
void multiply_f32(const Product& product);

/// True where the processor multiplies bf16 itself and the library knows how.
bool has_bf16_products();

/// a and b bf16, c f32 or bf16; only where `has_bf16_products`.
void multiply_bf16(const Product& product);

/// A bf16 b as products with a row-major a read it fastest: worth its price where many share it. The size in bytes, 0
/// where the library has no such arrangement; and the arrangement itself, by all threads.
int64_t packed_bf16_bytes(const In<2>& b);
void pack_bf16(const In<2>& b, void* memory);

/// All f64: a plain vectorised loop, for gradient checks and golden tests. b has unit stride in N.
void multiply_f64(const Product& product);

/// True when a view's rows lie in memory as rows: unit stride in its last dimension.
inline bool is_row_major(const In<2>& x) { return x.strides[1] == 1 || x.shape[1] == 1; }

/// The distance of the rows of a row-major matrix, or of the columns of a column-major one, as BLAS wants it: never
/// smaller than what it steps over, also where there is nothing to step to.
inline int64_t leading_dimension(const In<2>& x) {
  return is_row_major(x) ? std::max(x.strides[0], x.shape[1]) : std::max(x.strides[1], x.shape[0]);
}

}  // namespace tessera
