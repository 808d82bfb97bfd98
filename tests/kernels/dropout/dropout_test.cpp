#include "kernels/dropout/dropout.h"

#include <array>
#include <cmath>

#include <gtest/gtest.h>

#include "kernels/common/philox.h"
#include "tests/kernels/array.h"

namespace tessera {
namespace {

// The rule of the header, one element at a time.
bool kept(uint64_t key, int64_t row, int64_t column, float p) {
  const Words words = philox(key, {static_cast<uint32_t>(row), static_cast<uint32_t>(static_cast<uint64_t>(row) >> 32),
                                   static_cast<uint32_t>(column / 8), 0});
  const std::array<uint32_t, 4> four{words.x, words.y, words.z, words.w};
  const uint32_t draw = four[column % 8 / 2] >> (column % 2 * 16) & 0xffff;
  return draw >= std::round(p * 65536.0);
}

TEST(Dropout, FollowsThePublishedMaskInEveryDtype) {
  const int64_t rows = 5, width = 2051, first_row = (int64_t{1} << 33) + 5;
  const float p = 0.3f;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    const Array x = Array::random(dtype, {rows, width}, 1, 1, 2, 3);
    const Array residual = Array::random(accumulate_dtype(dtype), {rows, width}, 2, -1, 1, 1);
    Array y(dtype, {rows, width}), sum(accumulate_dtype(dtype), {rows, width}, 2);
    Dropout dropout{.x = x.in<2>(), .residual = {}, .p = p, .key = 99, .first_row = first_row, .y = y.out<2>()};
    run_on_test_device(dropout);
    dropout.residual = residual.in<2>();
    dropout.y = sum.out<2>();
    run_on_test_device(dropout);
    std::vector<double> expected;
    for (int64_t i = 0; i < x.numel(); ++i) {
      expected.push_back(kept(99, first_row + i / width, i % width, p) ? x[i] / (1 - std::round(p * 65536) / 65536)
                                                                       : 0);
    }
    expect_close(y, expected, 1.01 * rounding_unit(dtype) + 4 * rounding_unit(accumulate_dtype(dtype)), 0);
    for (int64_t i = 0; i < x.numel(); ++i) expected[i] += residual[i];
    expect_close(sum, expected, 0, 16 * rounding_unit(accumulate_dtype(dtype)));
  }
}

TEST(Dropout, DropsTheShareItPromisesAndNothingAtZero) {
  const int64_t rows = 100, width = 1000;
  const Array x = Array::of(DType::f32, {rows, width}, std::vector<double>(rows * width, 1));
  for (const float p : {0.0f, 0.1f, 0.5f, 0.9f}) {
    Array y(DType::f32, {rows, width});
    run_on_test_device(Dropout{.x = x.in<2>(), .residual = {}, .p = p, .key = 7, .first_row = 0, .y = y.out<2>()});
    double zeros = 0;
    for (int64_t i = 0; i < y.numel(); ++i) zeros += y[i] == 0;
    EXPECT_NEAR(zeros / static_cast<double>(y.numel()), p, 0.005) << p;
    EXPECT_EQ(zeros == 0, p == 0);
  }
}

// However near 1 the probability is, something is kept, and it is not infinite.
TEST(Dropout, ProbabilitiesGoInSteps) {
  EXPECT_EQ(DropoutRule(0).threshold, 0U);
  EXPECT_EQ(DropoutRule(0).factor, 1);
  EXPECT_EQ(DropoutRule(0.25f).threshold, 16384U);
  EXPECT_EQ(DropoutRule(0x1p-17f).threshold, 1U);
  EXPECT_EQ(DropoutRule(0.9999999f).threshold, 65535U);
  EXPECT_EQ(DropoutRule(0.9999999f).factor, 65536);
}

// Rows belong to the global batch: a rank that holds rows 3 … 5 drops what a single process drops there.
TEST(Dropout, ASliceOfTheBatchDropsTheSameInPlaceToo) {
  const Array x = Array::random(DType::f32, {6, 70}, 1);
  Array whole(DType::f32, {6, 70}), part = x;
  Dropout dropout{.x = x.in<2>(), .residual = {}, .p = 0.5, .key = 3, .first_row = 10, .y = whole.out<2>()};
  run_on_test_device(dropout);
  Out<2> lower = part.out<2>();
  lower.shape[0] = 3;
  lower.data = lower.as<float>() + 3 * 70;
  run_on_test_device(Dropout{.x = {lower.data, lower.dtype, lower.shape, lower.strides},
                             .residual = {},
                             .p = 0.5,
                             .key = 3,
                             .first_row = 13,
                             .y = lower});
  for (int64_t i = 3 * 70; i < 6 * 70; ++i) EXPECT_EQ(part[i], whole[i]);
  Array other(DType::f32, {6, 70});
  dropout.key = 4;
  dropout.y = other.out<2>();
  run_on_test_device(dropout);
  EXPECT_FALSE(other.values() == whole.values());
}

}  // namespace
}  // namespace tessera
