// The power of two that brings gradients amid what float16 can hold, and its inverse, found where the gradients are:
//
//   f = 2^(−4 − round(log₂ √(Σ g² / n)))        1 where Σ g² is 0 or not finite
//
// So the root mean square becomes about 1/16. The exponent stays within ±120, so that f and 1/f are f32 numbers.
#pragma once

#include <cmath>

#include "kernels/common/exec.h"
#include "kernels/common/host_device.h"
#include "kernels/gradient_scan/gradient_scan.h"

namespace tessera {

/// The exponent of f.
TESSERA_HOST_DEVICE inline double range_exponent(double squared_norm, int64_t n) {
  if (!(squared_norm > 0) || !(squared_norm < INFINITY)) return 0;
  const double exponent = -4 - rint(0.5 * log2(squared_norm / static_cast<double>(n)));
  return fmin(120.0, fmax(-120.0, exponent));
}

struct RangeFactor {
  const ScanResult* scan;  ///< of these gradients; only its sum counts; lives where the kernel runs
  int64_t n;               ///< how many there are
  float* factors;          ///< f and 1/f; lives where the kernel runs

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
