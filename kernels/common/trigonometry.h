// Sines and cosines of multiples of π on both sides: small arguments, so that a GPU needs no reduction by a large table
// in local memory.
#pragma once

#include <cmath>

#include "kernels/common/host_device.h"

namespace tessera {

/// cos(π·x) and sin(π·x).
TESSERA_HOST_DEVICE inline double cos_pi(double x) {
#ifdef __CUDA_ARCH__
  return cospi(x);
#else
  return std::cos(3.14159265358979323846 * x);
#endif
}
TESSERA_HOST_DEVICE inline double sin_pi(double x) {
#ifdef __CUDA_ARCH__
  return sinpi(x);
#else
  return std::sin(3.14159265358979323846 * x);
#endif
}

}  // namespace tessera
