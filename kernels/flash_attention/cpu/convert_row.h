// A row of elements from one floating dtype to another, at vector speed.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/common/half.h"

namespace tessera::attention {

/// Copies n elements, converting each; to 16 bit by rounding to nearest, ties to even.
template <class From, class To>
void convert_row(const From* from, To* to, int64_t n) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(From));
    return;
  }
  int64_t i = 0;
#if defined(__F16C__)
  if constexpr (std::is_same_v<From, Half> && std::is_same_v<To, float>) {
    for (; i + 8 <= n; i += 8) {
      const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
      _mm256_storeu_ps(to + i, _mm256_cvtph_ps(eight));
    }
  } else if constexpr (std::is_same_v<From, float> && std::is_same_v<To, Half>) {
    for (; i + 8 <= n; i += 8) {
      const __m128i eight = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), eight);
    }
  }
#endif
  for (; i < n; ++i) to[i] = To(from[i]);
}

}  // namespace tessera::attention
