// One call of cuBLASLt on row-major views. cuBLASLt counts columns first: what it is told is cᵀ = bᵀ·aᵀ.
#pragma once

#include <cstdint>

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// What becomes of p = a·b + bias before it is written.
enum class ProductEpilogue : uint8_t {
  none,          ///< c = p + beta·base
  gelu,          ///< aux = p, c = gelu_tanh(p)
  gelu_gradient  ///< c = p · gelu_tanh'(aux)
};

/// c = a·b + bias + beta·base, batched. Dtypes and strides as in `MatMul`; extents are at least 1.
struct DeviceProduct {
  In<3> a;     ///< [B, M, K]
  In<3> b;     ///< [B, K, N]
  In<1> bias;  ///< [N], c's dtype, stride 1; absent: 0
  In<3> base;  ///< [B, M, N], c's dtype; read where beta is not 0; may be c
  float beta;
  ProductEpilogue epilogue;
  Out<3> aux;      ///< [B, M, N], c's dtype; absent without an epilogue
  Out<1> row_sum;  ///< [M], c's dtype, stride 1: Σ_k a(m, k); only with no epilogue and no bias; absent: not wanted
  Out<3> c;        ///< [B, M, N]

  void operator()(Cuda cuda) const;

  /// False, with nothing done, where cuBLASLt has no kernel for this combination: then do without the epilogue.
  bool try_run(Cuda cuda) const;
};

/// Whether f32 products on a GPU may round their factors to TF32 (10 bits of mantissa, several times as fast). Off
/// unless switched on, for all devices of the process, before the first product.
void set_tf32(bool allowed);

}  // namespace tessera
