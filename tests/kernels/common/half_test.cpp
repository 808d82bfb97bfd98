#include "kernels/common/half.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace tessera {
namespace {

template <class T>
float round_trip(float value) {
  return static_cast<float>(T(value));
}

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(round_trip<Half>(1.0f + 0x1p-11f), 1.0f);                // tie, to even
  EXPECT_EQ(round_trip<Half>(1.0f + 3 * 0x1p-11f), 1.0f + 0x1p-9f);  // tie, to even
  EXPECT_EQ(round_trip<Half>(65504.0f), 65504.0f);
  EXPECT_EQ(round_trip<Half>(65520.0f), std::numeric_limits<float>::infinity());
  EXPECT_EQ(round_trip<Half>(0x1p-24f), 0x1p-24f);  // smallest subnormal
  EXPECT_EQ(round_trip<Half>(0x1p-25f), 0.0f);      // tie, to even
}

TEST(Half, EveryBitPatternSurvives) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    Half half;
    half.bits = static_cast<uint16_t>(bits);
    const float value = static_cast<float>(half);
    if (std::isnan(value)) continue;
    ASSERT_EQ(Half(value).bits, bits);
  }
}

TEST(BFloat16, RoundsToNearestEvenAndKeepsNaN) {
  EXPECT_EQ(round_trip<BFloat16>(1.0f + 0x1p-8f), 1.0f);
  EXPECT_EQ(round_trip<BFloat16>(1.0f + 3 * 0x1p-8f), 1.0f + 0x1p-6f);
  EXPECT_TRUE(std::isnan(round_trip<BFloat16>(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_EQ(round_trip<BFloat16>(std::numeric_limits<float>::infinity()), std::numeric_limits<float>::infinity());
}

}  // namespace
}  // namespace tessera
