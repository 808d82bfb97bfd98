// The keys of all dropout sites in memory of the device, written anew before each step, so that kernels which were
// recorded once draw other numbers in every replay.
#pragma once

#include <vector>

#include "framework/tensor/pinned_buffer.h"
#include "kernels/common/philox.h"

namespace tessera {

/// The key of the numbers that a site draws in an iteration.
inline uint64_t dropout_key(uint64_t seed, int64_t iteration, uint64_t site) {
  return mix(mix(seed, static_cast<uint64_t>(iteration)), site);
}

class DropoutKeys {
 public:
  DropoutKeys(Device device, uint64_t seed) : device_(device), uploader_(device), seed_(seed) {}

  /// Enqueues the writing of the keys of `iteration`. The sites that have asked before the first time are those that
  /// get a place, for good: what was recorded holds its address.
  void write(int64_t iteration);
  /// Where the key of a site lies; null if it has no place.
  const uint64_t* place_of(uint64_t site);
  /// Whether every site that has ever asked has a place.
  bool complete() const { return sites_.size() == written_; }

 private:
  Device device_;
  Uploader uploader_;
  uint64_t seed_;
  std::vector<uint64_t> sites_;
  size_t written_ = 0;
  Tensor keys_;  // i64, one per written site
};

}  // namespace tessera
