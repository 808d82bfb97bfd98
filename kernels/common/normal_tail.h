// The tail of the normal distribution, on the CPU and in device code: a polynomial fitted for this file (minimax of the
// relative error).
#pragma once

#include "kernels/common/host_device.h"

namespace tessera {

/// Φ(−|x|) for bell = e^(−x²/2) and t = 1 / (1 + kNormalTailScale · |x|). Relative error ≤ 5e-7 and bell's.
inline constexpr float kNormalTailScale = 0.3f;
TESSERA_HOST_DEVICE inline float normal_tail(float bell, float t) {
  float p = 0.03593179145f;
  p = p * t - 0.1582762259f;
  p = p * t + 0.2082069768f;
  p = p * t - 0.05539416974f;
  p = p * t + 0.1294693605f;
  p = p * t + 0.09963744814f;
  p = p * t + 0.120798365f;
  p = p * t + 0.1196263893f;
  return bell * t * p;
}

}  // namespace tessera
