// A register of elements from memory of any floating dtype, and back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/common/half.h"
#include "kernels/common/simd.h"

namespace tessera::attention {

namespace detail {
// A register's worth of bfloat16 by the arithmetic of half.h, which does not vectorise by itself.
using Words = simd::Vector<uint32_t>;
typedef uint16_t Halves __attribute__((vector_size(sizeof(Words) / 2), aligned(2), may_alias));

[[gnu::always_inline]] inline simd::Vector<float> widen(const BFloat16* from) {
  const auto halves = *reinterpret_cast<const Halves*>(from);
  return reinterpret_cast<simd::Vector<float>>(__builtin_convertvector(halves, Words) << 16);
}

[[gnu::always_inline]] inline void narrow(BFloat16* to, simd::Vector<float> value) {
  const auto words = reinterpret_cast<Words>(value);
  const Words rounded = (words + 0x7fffu + ((words >> 16) & 1u)) >> 16;
  const Words quiet_nan = (words >> 16) | 0x40u;
  const Words chosen = (words & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded;
  *reinterpret_cast<Halves*>(to) = __builtin_convertvector(chosen, Halves);
}
}  // namespace detail

/// The first `n` elements at `from` as a register of A, zeros beyond; all lanes if n is larger than there are.
template <class A, class T>
[[gnu::always_inline]] inline simd::Vector<A> load_lanes(const T* from, int64_t n) {
  constexpr int64_t lanes = simd::kLanes<A>;
  if constexpr (std::is_same_v<A, T>) {
    if (n >= lanes) [[likely]]
      return simd::load(from);
  }
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (n >= lanes) [[likely]]
      return detail::widen(from);
  }
  A converted[lanes] = {};
  int64_t i = 0;
#if defined(__F16C__)
  if constexpr (std::is_same_v<T, Half>) {
    for (; i + 8 <= std::min(n, lanes); i += 8) {
      const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
      _mm256_storeu_ps(converted + i, _mm256_cvtph_ps(eight));
    }
  }
#endif
  if (i == 0 && n >= lanes) {
    for (; i < lanes; ++i) converted[i] = A(from[i]);
  }
  for (; i < std::min(n, lanes); ++i) converted[i] = A(from[i]);
  return simd::load(converted);
}

/// Writes the first `n` lanes (all, if n is larger) to `to`, to 16 bit by rounding to nearest, ties to even.
template <class V, class T>
[[gnu::always_inline]] inline void store_lanes(T* to, V value, int64_t n) {
  using A = std::remove_cvref_t<decltype(value[0])>;
  constexpr int64_t lanes = simd::kLanes<A>;
  if constexpr (std::is_same_v<A, T>) {
    if (n >= lanes) [[likely]]
      return simd::store(to, value);
  }
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (n >= lanes) [[likely]]
      return detail::narrow(to, value);
  }
  A converted[lanes];
  simd::store(converted, value);
  int64_t i = 0;
#if defined(__F16C__)
  if constexpr (std::is_same_v<T, Half>) {
    for (; i + 8 <= std::min(n, lanes); i += 8) {
      const __m128i eight = _mm256_cvtps_ph(_mm256_loadu_ps(converted + i), _MM_FROUND_TO_NEAREST_INT);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), eight);
    }
  }
#endif
  if (i == 0 && n >= lanes) {
    for (; i < lanes; ++i) to[i] = T(converted[i]);
  }
  for (; i < std::min(n, lanes); ++i) to[i] = T(converted[i]);
}

}  // namespace tessera::attention
