// The pieces that a matrix product is cut into: MatMul's arguments for one matrix of the batch or a part of it.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/common/activation.h"
#include "kernels/common/rows.h"

namespace tessera {

/// A gradient's way back through an activation: the product is multiplied by its slope at `pre`, in f32 (f64 for f64).
struct Slope {
  Activation activation;
  In<2> pre;         ///< [M, N]; absent: no activation to go through
  Out<2> activated;  ///< [M, N], pre's dtype: activation(pre), on the same way
};

/// c = activation(a·b + bias) + add + beta·c, by the rules of matmul.h, or c = (a·b) ∘ slope.
struct Panel {
  In<2> a;  ///< [M, K]
  In<2> b;  ///< [K, N]
  In<1> bias;
  In<2> add;
  Activation activation;
  Out<2> pre_activation;
  Out<2> c;  ///< [M, N]
  float beta;
  Slope slope = {};
  const void* packed_b = nullptr;  ///< b once more, as `pack_bf16` arranges it; absent: not packed
};

/// Computes one panel on the calling thread. Factors are multiplied as `Factor`: float, double, or BFloat16 where the
/// library has such products; b is plain in it.
template <class Factor>
void run_panel(Panel panel);

/// Computes a whole product, by all threads.
void run_matrix(const Panel& op);

/// True where a product reads x as it is: it holds `Factor`, one stride is 1, and rows or columns do not overlap.
template <class Factor>
bool is_plain(const In<2>& x);

/// x as a row-major matrix of `Factor` in `memory`; in parallel where that is allowed.
template <class Factor>
In<2> pack(const In<2>& x, Factor* memory);

/// `count` rows of x from `begin` on.
template <class View>
View rows_of(View x, int64_t begin, int64_t count) {
  x.data = address_of(x.data, x.dtype, begin * x.strides[0]);
  x.shape[0] = count;
  return x;
}

/// `count` columns of x from `begin` on.
template <class View>
View columns_of(View x, int64_t begin, int64_t count) {
  x.data = address_of(x.data, x.dtype, begin * x.strides[1]);
  x.shape[1] = count;
  return x;
}

/// Memory of this thread that the next call finds again; one block per element type and purpose.
template <class T, int Purpose>
T* workspace(int64_t n) {
  thread_local std::unique_ptr<T[]> memory;
  thread_local int64_t size = 0;
  if (n > size) {
    memory = scratch<T>(n);
    size = n;
  }
  return memory.get();
}

}  // namespace tessera
