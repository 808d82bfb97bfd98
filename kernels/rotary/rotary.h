// Rotary position embedding (Su et al., "RoFormer", 2021, eq. 34), in the layout of GPT-NeoX and Llama: element i of
// the first half of a head is paired with element i of the second half. With p the position and θ_i = base^(−2i/D):
//
//   y[i]       = x[i] · cos(p θ_i) − x[i + D/2] · sin(p θ_i)
//   y[i + D/2] = x[i + D/2] · cos(p θ_i) + x[i] · sin(p θ_i)             i < D/2
//
// A rotation's transpose is its inverse, so the backward is the same kernel on dy with the direction reversed.
#pragma once

#include <cstdint>

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Forward turns by +pθ, inverse by −pθ.
enum class RotaryDirection : uint8_t { forward, inverse };

/// Rotates queries or keys. Angles are formed in f64: a number depends only on its position, never on the start or on
/// the tiling. x and y may be strided in the outer three axes; the elements of a head are neighbours.
struct Rotary {
  In<4> x;          ///< [B, N, H, D], D even
  In<2> positions;  ///< i32 [B, N] (stride 0 shares them over the batch), or absent: start + n
  int64_t start;    ///< the position of n = 0
  double base;      ///< 10000 in RoFormer
  RotaryDirection direction;
  Out<4> y;  ///< [B, N, H, D]; may be the memory of x where dtype and strides agree

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
