// The 16-bit floats as plain storage types that convert to and from float (round to nearest, ties to even). They need
// no CUDA header; on a device their bits are those of __half and __nv_bfloat16.
#pragma once

#include <cstdint>

#include "kernels/common/host_device.h"

#if defined(__F16C__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

namespace tessera {

/// bfloat16: the upper half of an IEEE binary32.
struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  TESSERA_HOST_DEVICE explicit BFloat16(float value) {
    const uint32_t word = bits_as<uint32_t>(value);
    const uint32_t rounded = (word + 0x7fffu + ((word >> 16) & 1u)) >> 16;
    const uint32_t quiet_nan = (word >> 16) | 0x40u;
    bits = static_cast<uint16_t>((word & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded);
  }
  TESSERA_HOST_DEVICE explicit operator float() const { return bits_as<float>(static_cast<uint32_t>(bits) << 16); }
};

/// IEEE binary16.
struct Half {
  uint16_t bits = 0;

  Half() = default;
  TESSERA_HOST_DEVICE explicit Half(float value) : bits(from_float(value)) {}
  TESSERA_HOST_DEVICE explicit operator float() const { return to_float(bits); }

 private:
#if defined(__F16C__) && !defined(__CUDACC__)
  static uint16_t from_float(float value) { return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT); }
  static float to_float(uint16_t half) { return _cvtsh_ss(half); }
#else
  TESSERA_HOST_DEVICE static uint16_t from_float(float value) {
    const uint32_t word = bits_as<uint32_t>(value);
    const uint32_t sign = (word >> 16) & 0x8000u;
    const uint32_t magnitude = word & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((word >> 13) & 0x1ffu));
    if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65520 and above round to infinity
    if (magnitude < 0x38800000u) {                                               // below 2^-14: let the adder round
      const float shifted = bits_as<float>(magnitude) + 0.5f;
      return static_cast<uint16_t>(sign | (bits_as<uint32_t>(shifted) - 0x3f000000u));
    }
    return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13));
  }
  TESSERA_HOST_DEVICE static float to_float(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
    const uint32_t shifted = static_cast<uint32_t>(half & 0x7fffu) << 13;
    if (shifted >= 0x0f800000u) return bits_as<float>(sign | (shifted + 0x70000000u));  // infinity, NaN
    const float scaled = bits_as<float>(shifted) * 0x1p112f;                            // exact, subnormals too
    return bits_as<float>(sign | bits_as<uint32_t>(scaled));
  }
#endif
};

}  // namespace tessera
