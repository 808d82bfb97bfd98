#include "kernels/cross_entropy/cross_entropy.h"

#include <gtest/gtest.h>

#include "tests/kernels/array.h"

namespace tessera {
namespace {

constexpr int32_t kIgnore = -100;

struct Reference {
  std::vector<double> loss, lse, dlogits;
};

Reference reference(const Array& logits, const Array& targets, int64_t rows, int64_t width, double factor) {
  Reference ref{std::vector<double>(rows), std::vector<double>(rows), std::vector<double>(rows * width)};
  for (int64_t r = 0; r < rows; ++r) {
    if (targets[r] == kIgnore) continue;
    double max = -INFINITY, sum = 0;
    for (int64_t v = 0; v < width; ++v) max = std::max(max, logits[r * width + v]);
    for (int64_t v = 0; v < width; ++v) sum += std::exp(logits[r * width + v] - max);
    ref.lse[r] = max + std::log(sum);
    ref.loss[r] = std::log(sum) + max - logits[r * width + static_cast<int64_t>(targets[r])];
    for (int64_t v = 0; v < width; ++v) {
      ref.dlogits[r * width + v] = factor * (std::exp(logits[r * width + v] - ref.lse[r]) - (v == targets[r]));
    }
  }
  return ref;
}

struct Outcome {
  Array loss, lse, dlogits;
  int32_t status = 0;
};

// Loss and gradient in one go, the gradient elsewhere or over the logits: the same bits as one after the other.
void expect_same_at_once(const CrossEntropyForward& forward, const CrossEntropyBackward& backward, const Array& logits,
                         const Outcome& expected, int64_t rows, int64_t width) {
  for (const bool in_place : {false, true}) {
    Array gradient = in_place ? logits : Array(logits.dtype(), {rows, width}, 1);
    Array loss(expected.loss.dtype(), {rows}), lse(expected.loss.dtype(), {rows});
    CrossEntropyForward both = forward;
    if (in_place) both.logits = gradient.in<2>();
    both.loss = loss.out<1>(), both.lse = lse.out<1>();
    both.dloss = backward.dloss, both.scale = backward.scale, both.dlogits = gradient.out<2>();
    run_on_test_device(both);
    EXPECT_TRUE(loss.bytes() == expected.loss.bytes()) << "in place: " << in_place;
    EXPECT_TRUE(lse.bytes() == expected.lse.bytes()) << "in place: " << in_place;
    EXPECT_TRUE(gradient.values() == expected.dlogits.values()) << "in place: " << in_place;
  }
}

Outcome run(const Array& logits, const Array& targets, int64_t rows, int64_t width, double dloss, double scale) {
  const DType type = accumulate_dtype(logits.dtype());
  Managed<int32_t> status;
  Outcome outcome{Array(type, {rows}), Array(type, {rows}), Array(logits.dtype(), {rows, width}, 1)};
  const CrossEntropyForward forward{.logits = logits.in<2>(),
                                    .targets = targets.in<1>(),
                                    .ignore_index = kIgnore,
                                    .loss = outcome.loss.out<1>(),
                                    .lse = outcome.lse.out<1>(),
                                    .status = status.get()};
  run_on_test_device(forward);
  outcome.status = *status;
  const Array arriving = Array::of(type, {}, {dloss});
  const CrossEntropyBackward backward{.logits = logits.in<2>(),
                                      .targets = targets.in<1>(),
                                      .ignore_index = kIgnore,
                                      .lse = outcome.lse.in<1>(),
                                      .dloss = dloss == 1 ? In<0>{} : arriving.in<0>(),
                                      .scale = scale,
                                      .dlogits = outcome.dlogits.out<2>()};
  run_on_test_device(backward);
  Array in_place = logits;
  CrossEntropyBackward again = backward;
  again.logits = in_place.in<2>();
  again.dlogits = in_place.out<2>();
  run_on_test_device(again);
  EXPECT_TRUE(in_place.values() == outcome.dlogits.values()) << "in place gives other bits";
  expect_same_at_once(forward, backward, logits, outcome, rows, width);
  return outcome;
}

TEST(CrossEntropy, ShapesAndDtypes) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    for (const auto& [rows, width] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {5, 65}, {70, 1031}, {3, 5000}}) {
      SCOPED_TRACE(to_string(dtype) + " " + std::to_string(rows) + "x" + std::to_string(width));
      const Array logits = Array::random(dtype, {rows, width}, 1, -6, 6, 3);
      Array targets = Array::random(DType::i32, {rows}, 2, 0, static_cast<double>(width));
      if (rows > 2) targets.set(1, kIgnore);
      targets.set(rows - 1, static_cast<double>(width - 1));
      const double dloss = rows == 5 ? 1 : 1024;
      const Outcome actual = run(logits, targets, rows, width, dloss, 1.0 / 3);
      const Reference expected = reference(logits, targets, rows, width, dloss / 3);
      const double unit = rounding_unit(accumulate_dtype(dtype));
      EXPECT_EQ(actual.status, 0);
      expect_close(actual.loss, expected.loss, 10 * unit, 20 * unit);
      expect_close(actual.lse, expected.lse, 10 * unit, 20 * unit);
      // Gradients round to the dtype of the logits; f16 has subnormals below 2^-14.
      expect_close(actual.dlogits, expected.dlogits, rounding_unit(dtype) + 40 * unit,
                   40 * unit * dloss / 3 + (dtype == DType::f16 ? 0x1p-25 : 0));
    }
  }
}

// One row of 42,000 is more than a block of the emulated GPU holds, and is read twice.
TEST(CrossEntropy, LongRows) {
  for (const int64_t width : {42000, 30011}) {
    const Array logits = Array::random(DType::f32, {2, width}, 1, -6, 6);
    const Array targets = Array::of(DType::i32, {2}, {7, static_cast<double>(width - 1)});
    const Outcome actual = run(logits, targets, 2, width, 1, 1);
    const Reference expected = reference(logits, targets, 2, width, 1);
    expect_close(actual.loss, expected.loss, 0x1p-20, 0x1p-20);
    expect_close(actual.dlogits, expected.dlogits, 0x1p-18, 0x1p-20);
  }
}

TEST(CrossEntropy, AGradientIsCorrectedWhereSomethingElseArrived) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    const Array before = Array::random(dtype, {5, 33}, 1, -1, 1, 3);
    const DType type = accumulate_dtype(dtype);
    const Array four = Array::of(type, {}, {4}), half = Array::of(type, {}, {0.5});
    const auto corrected = [&](const In<0>& expected, const Array& arriving) {
      Array gradient = before;
      run_on_test_device(
          CrossEntropyCorrection{.expected = expected, .arriving = arriving.in<0>(), .dlogits = gradient.out<2>()});
      return gradient.values();
    };
    EXPECT_EQ(corrected(half.in<0>(), half), before.values());
    std::vector<double> expected = before.values();
    for (double& x : expected) x *= 4;
    EXPECT_EQ(corrected({}, four), expected);
    for (double& x : expected) x /= 32;
    EXPECT_EQ(corrected(four.in<0>(), half), expected);
  }
}

TEST(CrossEntropy, HugeLogitsStayFinite) {
  const Array logits = Array::of(DType::f32, {3, 4}, {1e4, -1e4, 9999, 0, -1e4, -1e4, -1e4, -1e4, 1e4, 1e4, -1e4, 3});
  const Array targets = Array::of(DType::i32, {3}, {1, 2, 0});
  const Outcome actual = run(logits, targets, 3, 4, 1, 1);
  EXPECT_FLOAT_EQ(actual.loss[0], 20000.313);
  EXPECT_FLOAT_EQ(actual.loss[1], std::log(4.0));
  EXPECT_FLOAT_EQ(actual.loss[2], std::log(2.0));
  for (int64_t i = 0; i < 12; ++i) EXPECT_TRUE(std::isfinite(actual.dlogits[i]));
}

TEST(CrossEntropy, MinusInfinityIsAnImpossibleTokenAndNaNIsNotHidden) {
  const Array logits = Array::of(DType::f32, {3, 3}, {-INFINITY, 1, 1, NAN, 1, 2, -INFINITY, -INFINITY, -INFINITY});
  const Array targets = Array::of(DType::i32, {3}, {1, 2, 0});
  Managed<int32_t> status;
  Array loss(DType::f32, {3}), lse(DType::f32, {3});
  run_on_test_device(CrossEntropyForward{.logits = logits.in<2>(),
                                         .targets = targets.in<1>(),
                                         .ignore_index = kIgnore,
                                         .loss = loss.out<1>(),
                                         .lse = lse.out<1>(),
                                         .status = status.get()});
  EXPECT_FLOAT_EQ(loss[0], std::log(2.0));
  EXPECT_TRUE(std::isnan(loss[1]));
  EXPECT_FALSE(std::isfinite(loss[2]));
}

TEST(CrossEntropy, ReportsTheLastBadTarget) {
  const Array logits = Array::random(DType::f32, {200, 300}, 1);
  for (const double bad : {-1.0, 300.0}) {
    Array targets(DType::i32, {200});
    targets.set(17, bad);
    targets.set(120, bad);
    targets.set(3, kIgnore);
    const Outcome actual = run(logits, targets, 200, 300, 1, 1);
    EXPECT_EQ(actual.status, 121);
    EXPECT_EQ(actual.loss[17], 0);
    for (int64_t v = 0; v < 300; ++v) EXPECT_EQ(actual.dlogits[17 * 300 + v], 0);
  }
}

}  // namespace
}  // namespace tessera
