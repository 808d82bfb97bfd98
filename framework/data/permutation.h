// A keyed shuffle of [0, size) that needs no memory: a balanced Feistel network over the next even number of bits (Luby
// and Rackoff, "How to construct pseudorandom permutations…", 1988), walked until it lands inside the range ("cycle
// walking": Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, section 3).
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/common/philox.h"

namespace tessera {

class Permutation {
 public:
  /// A permutation of [0, size), 1 ≤ size < 2^62, that depends on nothing but its arguments.
  Permutation(int64_t size, uint64_t key) : size_(static_cast<uint64_t>(size)), key_(key) {
    half_bits_ = (std::bit_width(size_ - 1) + 1) / 2;
  }

  /// Where `i` of [0, size) goes. Fewer than four steps on average.
  int64_t operator()(int64_t i) const {
    uint64_t x = static_cast<uint64_t>(i);
    do x = step(x);
    while (x >= size_);
    return static_cast<int64_t>(x);
  }

 private:
  uint64_t step(uint64_t x) const {
    const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
    uint64_t left = x >> half_bits_, right = x & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t next = left ^ (mix(key_ + round, right) & mask);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  static constexpr uint64_t kRounds = 8;
  uint64_t size_, key_;
  int half_bits_;
};

}  // namespace tessera
