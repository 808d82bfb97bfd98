#include "kernels/flash_attention/cpu/lane_io.h"

#include <bit>
#include <vector>

#include <gtest/gtest.h>

namespace tessera::attention {
namespace {

constexpr int64_t kLanes = simd::kLanes<float>;

// Whole registers take another way than the last elements of a row; half.h says what either must give.
TEST(LaneIo, WholeRegistersOfBFloat16RoundLikeSingleElements) {
  std::vector<uint32_t> patterns;
  for (uint32_t high = 0; high < 0x10000; high += 7) {
    for (const uint32_t low : {0x0u, 0x1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) patterns.push_back(high << 16 | low);
  }
  for (size_t at = 0; at + kLanes <= patterns.size(); at += kLanes) {
    float values[kLanes];
    BFloat16 narrow[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) values[i] = std::bit_cast<float>(patterns[at + i]);
    store_lanes(narrow, simd::load(values), kLanes);
    const simd::Vector<float> wide = load_lanes<float>(narrow, kLanes);
    for (int64_t i = 0; i < kLanes; ++i) {
      const BFloat16 expected(values[i]);
      ASSERT_EQ(narrow[i].bits, expected.bits) << std::hex << patterns[at + i];
      const float lane = wide[i];
      ASSERT_EQ(std::bit_cast<uint32_t>(lane), uint32_t{expected.bits} << 16);
    }
  }
}

TEST(LaneIo, ShortRunsAreFilledWithZerosAndWriteNothingBeyond) {
  for (int64_t n = 0; n < kLanes; ++n) {
    std::vector<BFloat16> from(kLanes, BFloat16(3.0f)), to(kLanes, BFloat16(5.0f));
    const simd::Vector<float> loaded = load_lanes<float>(from.data(), n);
    store_lanes(to.data(), loaded, n);
    for (int64_t i = 0; i < kLanes; ++i) {
      EXPECT_EQ(loaded[i], i < n ? 3.0f : 0.0f);
      EXPECT_EQ(static_cast<float>(to[i]), i < n ? 3.0f : 5.0f);
    }
  }
}

}  // namespace
}  // namespace tessera::attention
