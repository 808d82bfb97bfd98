// The reciprocal deviation of a row, the same on every device.
#pragma once

#include <cmath>

#include "kernels/common/host_device.h"

namespace tessera {

/// 1 / √(variance + ε); NaN where squares overflowed: a row that cannot be normalised must not become zeros.
template <class T>
TESSERA_HOST_DEVICE T inverse_deviation(T variance, T epsilon) {
  using std::sqrt;
  return variance < T(INFINITY) ? T(1) / sqrt(variance + epsilon) : T(NAN);
}

}  // namespace tessera
