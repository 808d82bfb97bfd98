// One call of cuBLASLt on row-major views. cuBLASLt counts columns first: what it is told is cᵀ = bᵀ·aᵀ.
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// c = a·b + bias + beta·base, batched. Dtypes and strides as in `MatMul`; extents are at least 1.
struct DeviceProduct {
  In<3> a;     ///< [B, M, K]
  In<3> b;     ///< [B, K, N]
  In<1> bias;  ///< [N], c's dtype, stride 1; absent: 0
  In<3> base;  ///< [B, M, N], c's dtype; read where beta is not 0; may be c
  float beta;
  Out<3> c;  ///< [B, M, N]

  void operator()(Cuda cuda) const;
};

}  // namespace tessera
