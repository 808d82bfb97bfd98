// One vector register of floats or doubles, as the compiler's own vector type: arithmetic, comparison and ?: work lane
// by lane on every instruction set, and the width is that of the machine that the code is compiled for.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace tessera::simd {

#if defined(__AVX512F__)
inline constexpr int kBytes = 64;
#elif defined(__AVX__)
inline constexpr int kBytes = 32;
#else
inline constexpr int kBytes = 16;
#endif

namespace detail {
template <class T>
struct VectorOf {
  typedef T Register __attribute__((vector_size(kBytes)));
  typedef T Memory __attribute__((vector_size(kBytes), aligned(alignof(T)), may_alias));
};
}  // namespace detail

/// A register of `kLanes<T>` elements.
template <class T>
using Vector = typename detail::VectorOf<T>::Register;

/// Elements per register.
template <class T>
inline constexpr int kLanes = kBytes / static_cast<int>(sizeof(T));

/// `from` need not be aligned.
template <class T>
[[gnu::always_inline]] inline Vector<T> load(const T* from) {
  return *reinterpret_cast<const typename detail::VectorOf<T>::Memory*>(from);
}

/// `to` need not be aligned.
template <class T>
[[gnu::always_inline]] inline void store(T* to, Vector<T> value) {
  *reinterpret_cast<typename detail::VectorOf<T>::Memory*>(to) = value;
}

template <class T>
[[gnu::always_inline]] inline Vector<T> broadcast(T value) {
  return Vector<T>{} + value;
}

/// The larger of each lane; `b` where a is NaN.
template <class V>
[[gnu::always_inline]] inline V max(V a, V b) {
#if defined(__AVX512F__)
  // One instruction, where the compiler makes a comparison, a mask and a move of what stands below.
  if constexpr (std::is_same_v<V, Vector<float>>) return _mm512_maskz_max_ps(0xFFFF, a, b);
#endif
  return a > b ? a : b;
}

/// 2^x for x ≤ 127: relative error below 6e-7, 0 below the smallest normal number and for −∞, NaN for NaN.
[[gnu::always_inline]] inline Vector<float> exp2(Vector<float> x) {
  constexpr float kRound = 0x1.8p23f + 127;  // added to a float, leaves the nearest integer, biased, in the low bits
  const Vector<float> shifted = x + kRound;
  const Vector<float> f = x - (shifted - kRound);       // in [−1/2, 1/2]
  Vector<float> p = f * 0.0011125507f + 0.0096662825f;  // the polynomial that minimises the largest
  p = (((p * f + 0.0555740047f) * f + 0.2402235065f) * f + 0.6931428306f) * f + 1.0f;  // relative error, p(0) = 1
  const Vector<int32_t> exponent = reinterpret_cast<Vector<int32_t>>(shifted) << 23;
  return x < -126.0f ? Vector<float>{} : p * reinterpret_cast<Vector<float>>(exponent);
}

/// 2^x, lane by lane with the accuracy of std::exp2.
[[gnu::always_inline]] inline Vector<double> exp2(Vector<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::exp2(x[i]);
  return x;
}

/// tanh(x): relative error below 1e-6.
[[gnu::always_inline]] inline Vector<float> tanh(Vector<float> x) {
  const Vector<float> size = x < 0.0f ? -x : x;
  const Vector<float> z = x * x;
  Vector<float> p = z * -0.0057049871f + 0.0206390874f;  // near 0, where the quotient below would cancel
  p = (((p * z - 0.0537397151f) * z + 0.1333144220f) * z - 0.3333328194f) * z * x + x;
  const Vector<float> power = exp2((size > 20.0f ? broadcast(20.0f) : size) * 2.885390082f);  // e^2|x|
  const Vector<float> far = 1.0f - 2.0f / (power + 1.0f);
  return size < 0.625f ? p : (x < 0.0f ? -far : far);
}

/// tanh(x), lane by lane with the accuracy of std::tanh.
[[gnu::always_inline]] inline Vector<double> tanh(Vector<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::tanh(x[i]);
  return x;
}

namespace detail {
template <class T, size_t... I>
[[gnu::always_inline]] inline void interleave(Vector<T> a, Vector<T> b, Vector<T>& low, Vector<T>& high,
                                              std::index_sequence<I...>) {
  constexpr int n = kLanes<T>;
  low = __builtin_shufflevector(a, b, (I / 2 + (I % 2) * n)...);
  high = __builtin_shufflevector(a, b, (n / 2 + I / 2 + (I % 2) * n)...);
}
}  // namespace detail

/// Transposes the square that `rows` holds, by log₂ perfect shuffles.
template <class T>
[[gnu::always_inline]] inline void transpose(Vector<T> (&rows)[kLanes<T>]) {
  constexpr int n = kLanes<T>;
#pragma GCC unroll 8
  for (int round = 1; round < n; round *= 2) {
    Vector<T> shuffled[n];
#pragma GCC unroll 16
    for (int i = 0; i < n / 2; ++i) {
      detail::interleave<T>(rows[i], rows[i + n / 2], shuffled[2 * i], shuffled[2 * i + 1],
                            std::make_index_sequence<n>());
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i] = shuffled[i];
  }
}

}  // namespace tessera::simd
