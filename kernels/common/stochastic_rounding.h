// Rounding to bfloat16 up or down at random, so that the mean is the number itself: updates far below the spacing of
// bfloat16 are not lost. Element i of step s always gets the same 16 bits (Philox), whatever computes it.
#pragma once

#include "kernels/common/half.h"
#include "kernels/common/philox.h"

namespace tessera {

/// Elements that share one block of random words; runs start at multiples of it.
inline constexpr int kRoundingBlock = 8;

/// `value` as a float that bfloat16 holds exactly: the neighbour away from zero with the probability of `value`'s
/// distance from the other one, in steps of 2⁻¹⁶. `bits`: uniform, its lower 16 bits count.
TESSERA_HOST_DEVICE inline float round_stochastically(float value, uint32_t bits) {
  const uint32_t word = bits_as<uint32_t>(value);
  if ((word & 0x7f800000u) == 0x7f800000u) return value;  // infinity, NaN
  return bits_as<float>((word + (bits & 0xffffu)) & 0xffff0000u);
}

/// Rounds the `n` ≤ kRoundingBlock elements of block `block` in step `iteration`.
TESSERA_HOST_DEVICE inline void round_block(float* values, int n, uint64_t key, int64_t block, int64_t iteration) {
  const auto low = [](int64_t word) { return static_cast<uint32_t>(word); };
  const Words words = philox(key, {low(block), low(block >> 32), low(iteration), low(iteration >> 32)});
  const uint32_t random[4] = {words.x, words.y, words.z, words.w};
  for (int i = 0; i < n; ++i) values[i] = round_stochastically(values[i], random[i / 2] >> (16 * (i % 2)));
}

}  // namespace tessera
