// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
// section 3.3). A number is a pure function of (key, counter), so device, tiling and ranks never change it.
#pragma once

#include <cstdint>

#include "kernels/common/host_device.h"

namespace tessera {

/// A counter, or the four independent random words it stands for.
struct Words {
  uint32_t x, y, z, w;
};

/// Four independent 32-bit words for a 64-bit key and a 128-bit counter.
TESSERA_HOST_DEVICE inline Words philox(uint64_t key, Words counter) {
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter.x;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter.z;
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter.y ^ k0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter.w ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

/// Uniform in [0, 1), from the upper 24 bits of a word: exact in float.
TESSERA_HOST_DEVICE inline float uniform(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

/// An attention weight is dropped iff its word is below this threshold; the probability is exact to 2^-32.
TESSERA_HOST_DEVICE inline uint32_t dropout_threshold(float p) {
  return static_cast<uint32_t>(static_cast<double>(p) * 4294967296.0);
}

/// Mixes two words into one well-spread key (the finaliser of splitmix64).
TESSERA_HOST_DEVICE inline uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t z = a + 0x9E3779B97F4A7C15u * (b + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// A key as a number, or the place on the device where a kernel that is recorded once and replayed finds today's.
struct RandomKey {
  uint64_t value = 0;
  const uint64_t* place = nullptr;  ///< null: `value` is the key

  RandomKey() = default;
  TESSERA_HOST_DEVICE RandomKey(uint64_t key) : value(key) {}
  explicit RandomKey(const uint64_t* where) : place(where) {}
  TESSERA_HOST_DEVICE operator uint64_t() const { return place != nullptr ? *place : value; }
};

}  // namespace tessera
