// Elementary functions for the CPU's inner loops: branch-free, so that a loop over them vectorises. The float versions
// are polynomials fitted for this file (minimax of the relative error); the double versions are the standard library's.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/common/host_device.h"
#include "kernels/common/normal_tail.h"

namespace tessera {

/// e^x. Relative error ≤ 2e-7 where the result is a normal number; overflows to infinity, underflows to 0 through the
/// subnormals.
[[gnu::always_inline]] inline float fast_exp(float x) {
  constexpr float kRounder = 0x1.8p23f;  // added to a small number, leaves its nearest integer in the low bits
  const float low = x < -104.0f ? -104.0f : x;
  const float clamped = low > 89.0f ? 89.0f : low;
  const float shifted = clamped * 1.44269504f + kRounder;
  const int32_t n = bits_as<int32_t>(shifted) - bits_as<int32_t>(kRounder);
  const float whole = shifted - kRounder;
  const float r = (clamped - whole * 0x1.62e4p-1f) - whole * 1.42860682e-6f;  // clamped − n·ln 2, in two parts
  float p = 0.0013814325f;
  p = p * r + 0.008368851343f;
  p = p * r + 0.04166840102f;
  p = p * r + 0.1666651952f;
  p = p * r + 0.4999999337f;
  p = (p * r) * r + r + 1.0f;
  const int32_t half = n >> 1;  // 2^n as a product of two powers, either of which is a normal number
  return p * bits_as<float>((half + 127) << 23) * bits_as<float>((n - half + 127) << 23);
}

/// 1 / (1 + e^−x). Relative error ≤ 4e-7 where the result is a normal number.
[[gnu::always_inline]] inline float fast_sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }

/// tanh x. Relative error ≤ 4e-7.
[[gnu::always_inline]] inline float fast_tanh(float x) {
  const float magnitude = std::fabs(x);
  const float far = 1.0f - 2.0f / (fast_exp(2.0f * magnitude) + 1.0f);
  const float z = x * x;
  float p = 0.01643758205f;
  p = p * z - 0.05267181404f;
  p = p * z + 0.1332072506f;
  p = p * z - 0.3333294664f;
  const float near = magnitude + magnitude * z * p;
  return std::copysign(magnitude < 0.55f ? near : far, x);
}

/// e^(−x²/2). Relative error ≤ 1e-6 for |x| ≤ 5 and ≤ 1e-5 as far as it is a normal number; 0 beyond.
[[gnu::always_inline]] inline float fast_bell(float x) {
  constexpr float kRounder = 0x1.8p23f + 127;  // leaves the nearest integer, biased as an exponent is
  const float z = x * x;
  const float shifted = kRounder - z * 0.72134752f;  // log₂(e) / 2
  const float n = kRounder - shifted;
  const float r = (n * 0x1.62e4p0f - z) + n * 2.85721364e-6f;  // 2n·ln 2 − z, in two parts
  float p = 0.000259301722f;                                   // e^(r/2)
  p = p * r + 0.00261971137f;
  p = p * r + 0.0208344684f;
  p = p * r + 0.124997237f;
  p = p * r + 0.499999846f;
  p = p * r + 1.0000000717f;
  return z > 174.6f ? 0.0f : p * bits_as<float>(bits_as<int32_t>(shifted) << 23);
}

/// Φ(x) and φ(x), the distribution function and the density of the standard normal distribution.
template <class T>
struct Normal {
  T distribution, density;
};

/// Relative error of both ≤ 1e-6 for |x| ≤ 5 and ≤ 1e-5 as far as they are normal numbers.
[[gnu::always_inline]] inline Normal<float> fast_normal(float x) {
  const float magnitude = std::fabs(x);
  const float bell = fast_bell(x);
  const float tail = normal_tail(bell, 1.0f / (1.0f + kNormalTailScale * magnitude));
  return {x < 0.0f ? tail : 1.0f - tail, 0.398942280f * bell};
}

inline double fast_exp(double x) { return std::exp(x); }
inline double fast_sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
inline double fast_tanh(double x) { return std::tanh(x); }
inline Normal<double> fast_normal(double x) {
  return {0.5 * std::erfc(-x * 0.70710678118654752440), 0.39894228040143267794 * std::exp(-0.5 * x * x)};
}

/// A point of the unit circle.
struct CosSin {
  double cos, sin;
};

/// Cosine and sine for angles up to 2^30: absolute error ≤ 1e-11 plus that of the angle itself.
[[gnu::always_inline]] inline CosSin fast_cos_sin(double angle) {
  constexpr double kRounder = 0x1.8p52;
  const double shifted = angle * 0.63661977236758134308 + kRounder;
  const uint64_t quadrant = bits_as<uint64_t>(shifted);
  const double whole = shifted - kRounder;
  const double r = (angle - whole * 1.57079632679489655800) - whole * 6.12323399573676603587e-17;
  const double z = r * r;
  const double sine = r + r * z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 - z / 39916800))));
  const double cosine =
      1.0 - 0.5 * z + z * z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800 + z / 479001600))));
  const bool swapped = quadrant & 1;
  const double c = swapped ? sine : cosine;
  const double s = swapped ? cosine : sine;
  return {(quadrant + 1) & 2 ? -c : c, quadrant & 2 ? -s : s};
}

}  // namespace tessera
