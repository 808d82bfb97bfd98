#include "kernels/common/simd.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

float exp2_of(float x) { return simd::exp2(simd::broadcast(x))[0]; }
float tanh_of(float x) { return simd::tanh(simd::broadcast(x))[0]; }

TEST(Simd, Exp2IsAccurateEverywhere) {
  double worst = 0;
  for (float x = -126; x <= 127; x += 0x1.03p-9f) {
    worst = std::max(worst, std::fabs(exp2_of(x) / std::exp2(static_cast<double>(x)) - 1));
  }
  EXPECT_LT(worst, 6e-7);
  EXPECT_EQ(exp2_of(0), 1.0f);
}

TEST(Simd, Exp2OfSpecialValues) {
  EXPECT_EQ(exp2_of(-kInfinity), 0.0f);
  EXPECT_EQ(exp2_of(-126.5f), 0.0f);
  EXPECT_EQ(exp2_of(-1e38f), 0.0f);
  EXPECT_TRUE(std::isnan(exp2_of(kNan)));
  EXPECT_TRUE(std::isnan(exp2_of(__builtin_bit_cast(float, 0x7fffffff))));
  EXPECT_TRUE(std::isnan(exp2_of(__builtin_bit_cast(float, 0xffffffff))));
}

TEST(Simd, TanhIsAccurateFromTinyToSaturated) {
  double worst = 0;
  for (float x = 1e-9f; x < 60; x *= 1.0007f) {
    worst = std::max(worst, std::fabs(tanh_of(x) / std::tanh(static_cast<double>(x)) - 1));
    ASSERT_EQ(tanh_of(-x), -tanh_of(x));
  }
  EXPECT_LT(worst, 1e-6);
  EXPECT_EQ(tanh_of(kInfinity), 1.0f);
  EXPECT_EQ(tanh_of(-kInfinity), -1.0f);
  EXPECT_TRUE(std::isnan(tanh_of(kNan)));
}

TEST(Simd, MaxIgnoresNanOnTheLeft) {
  EXPECT_EQ(simd::max(simd::broadcast(kNan), simd::broadcast(2.0f))[0], 2.0f);
  EXPECT_EQ(simd::max(simd::broadcast(3.0f), simd::broadcast(2.0f))[0], 3.0f);
}

template <class T>
class SimdOf : public ::testing::Test {};
using Elements = ::testing::Types<float, double>;
TYPED_TEST_SUITE(SimdOf, Elements);

TYPED_TEST(SimdOf, TransposeSwapsRowsAndLanes) {
  constexpr int n = simd::kLanes<TypeParam>;
  simd::Vector<TypeParam> rows[n];
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) rows[i][j] = static_cast<TypeParam>(i * n + j);
  }
  simd::transpose<TypeParam>(rows);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) ASSERT_EQ(rows[i][j], j * n + i);
  }
}

TYPED_TEST(SimdOf, LoadsAndStoresAnywhere) {
  TypeParam from[simd::kLanes<TypeParam> + 1], to[simd::kLanes<TypeParam> + 1] = {};
  for (int i = 0; i <= simd::kLanes<TypeParam>; ++i) from[i] = static_cast<TypeParam>(i);
  simd::store(to + 1, simd::load(from + 1));
  for (int i = 1; i <= simd::kLanes<TypeParam>; ++i) EXPECT_EQ(to[i], i);
}

}  // namespace
}  // namespace tessera
