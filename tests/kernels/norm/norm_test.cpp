// Layer norm, RMS norm and their recompute against the equations of their headers in double.
#include <gtest/gtest.h>

#include "kernels/norm/layer_norm.h"
#include "kernels/norm/normalize.h"
#include "kernels/norm/rms_norm.h"
#include "tests/kernels/array.h"

namespace tessera {
namespace {

constexpr double kEpsilon = 1e-5;

struct Reference {
  std::vector<double> y, mean, rstd, dx, dweight, dbias;
};

// The equations as they stand in the headers.
Reference reference(bool centered, const std::vector<double>& s, const std::vector<double>& weight,
                    const std::vector<double>& bias, const std::vector<double>& dy, int64_t rows, int64_t n) {
  Reference ref{s, {}, {}, s, std::vector<double>(n), std::vector<double>(n)};
  for (int64_t r = 0; r < rows; ++r) {
    double mean = 0, variance = 0, g_mean = 0, gs_mean = 0;
    for (int64_t c = 0; c < n && centered; ++c) mean += s[r * n + c] / n;
    for (int64_t c = 0; c < n; ++c) variance += std::pow(s[r * n + c] - mean, 2) / n;
    const double rstd = 1 / std::sqrt(variance + kEpsilon);
    for (int64_t c = 0; c < n; ++c) {
      const double normalized = (s[r * n + c] - mean) * rstd;
      ref.y[r * n + c] = normalized * weight[c] + bias[c];
      if (centered) g_mean += dy[r * n + c] * weight[c] / n;
      gs_mean += dy[r * n + c] * weight[c] * normalized / n;
      ref.dweight[c] += dy[r * n + c] * normalized;
      ref.dbias[c] += dy[r * n + c];
    }
    for (int64_t c = 0; c < n; ++c) {
      const double normalized = (s[r * n + c] - mean) * rstd;
      ref.dx[r * n + c] = rstd * (dy[r * n + c] * weight[c] - g_mean - normalized * gs_mean);
    }
    ref.mean.push_back(mean);
    ref.rstd.push_back(rstd);
  }
  return ref;
}

struct Case {
  int64_t rows, n;
  DType x, y;
  int64_t padding;
};

std::vector<Case> cases() {
  return {{1, 1, DType::f32, DType::f32, 0},      {5, 7, DType::f64, DType::f64, 3},
          {33, 129, DType::f32, DType::f32, 5},   {9, 384, DType::f32, DType::bf16, 0},
          {130, 65, DType::f32, DType::f16, 1},   {17, 96, DType::bf16, DType::bf16, 2},
          {300, 40, DType::f16, DType::f16, 0},   {700, 31, DType::f64, DType::f64, 0},
          {11, 1600, DType::f32, DType::bf16, 0}, {3, 2051, DType::bf16, DType::f32, 3},
          {2, 8192, DType::f32, DType::f32, 0},   {2, 8201, DType::f32, DType::f32, 0}};
}

class Norm : public testing::TestWithParam<std::tuple<bool, Case>> {
 protected:
  bool centered() const { return std::get<0>(GetParam()); }
  Case shape() const { return std::get<1>(GetParam()); }
  DType statistics() const { return accumulate_dtype(shape().x); }
  // What an element of the result may differ by: rounding of the result, and of f32 arithmetic before it.
  double unit() const { return rounding_unit(shape().y) + 8 * rounding_unit(statistics()); }
};

TEST_P(Norm, ForwardAndRecompute) {
  const auto [rows, n, dtype, y_dtype, padding] = shape();
  const Array x = Array::random(dtype, {rows, n}, 1, -2, 3, padding);
  const Array residual = Array::random(statistics(), {rows, n}, 2, -1, 1, padding + 1);
  const Array weight = Array::random(statistics(), {n}, 3, 0.5, 2), bias = Array::random(statistics(), {n}, 4);
  Array sum(statistics(), {rows, n}, padding), y(y_dtype, {rows, n}, padding), again(y_dtype, {rows, n}, padding);
  Array mean(statistics(), {rows}), rstd(statistics(), {rows});
  const In<1> no_bias = centered() ? bias.in<1>() : In<1>{};
  if (centered()) {
    run_on_test_device(LayerNormForward{.x = x.in<2>(),
                                        .residual = residual.in<2>(),
                                        .weight = weight.in<1>(),
                                        .bias = bias.in<1>(),
                                        .epsilon = kEpsilon,
                                        .sum = sum.out<2>(),
                                        .y = y.out<2>(),
                                        .mean = mean.out<1>(),
                                        .rstd = rstd.out<1>()});
  } else {
    run_on_test_device(RmsNormForward{.x = x.in<2>(),
                                      .residual = residual.in<2>(),
                                      .weight = weight.in<1>(),
                                      .epsilon = kEpsilon,
                                      .sum = sum.out<2>(),
                                      .y = y.out<2>(),
                                      .rstd = rstd.out<1>()});
  }
  std::vector<double> s = x.values();
  for (int64_t i = 0; i < rows * n; ++i) s[i] += residual[i];
  expect_close(sum, s, 2 * rounding_unit(statistics()), 1e-30);
  const Reference ref = reference(centered(), sum.values(), weight.values(),
                                  centered() ? bias.values() : std::vector<double>(n), s, rows, n);
  expect_close(y, ref.y, unit(), 8 * unit());
  expect_close(rstd, ref.rstd, 20 * rounding_unit(statistics()), 0);
  if (centered()) expect_close(mean, ref.mean, 0, 20 * rounding_unit(statistics()));

  run_on_test_device(Normalize{.x = sum.in<2>(),
                               .mean = centered() ? mean.in<1>() : In<1>{},
                               .rstd = rstd.in<1>(),
                               .weight = weight.in<1>(),
                               .bias = no_bias,
                               .y = again.out<2>()});
  EXPECT_TRUE(again.values() == y.values()) << "the recomputed output has other bits";
}

TEST_P(Norm, Backward) {
  const auto [rows, n, dtype, y_dtype, padding] = shape();
  const Array x = Array::random(dtype, {rows, n}, 1, -2, 3, padding), dy = Array::random(y_dtype, {rows, n}, 5);
  const Array dsum = Array::random(statistics(), {rows, n}, 6);
  const Array weight = Array::random(statistics(), {n}, 3, 0.5, 2);
  const Reference ref =
      reference(centered(), x.values(), weight.values(), std::vector<double>(n), dy.values(), rows, n);
  const Array mean = Array::of(statistics(), {rows}, ref.mean), rstd = Array::of(statistics(), {rows}, ref.rstd);
  // The same from the rows as they are, and from the rows already normalised.
  Array ready(statistics(), {rows, n}, padding);
  for (int64_t i = 0; i < rows * n; ++i) ready.set(i, (x[i] - (centered() ? mean[i / n] : 0)) * rstd[i / n]);
  for (const bool normalized : {false, true}) {
    const Array& from = normalized ? ready : x;
    Array dx(statistics(), {rows, n}, padding), dweight = Array::random(statistics(), {n}, 7);
    Array dbias = Array::random(statistics(), {n}, 8);
    const std::vector<double> before = dweight.values();
    if (centered()) {
      run_on_test_device(LayerNormBackward{.x = from.in<2>(),
                                           .weight = weight.in<1>(),
                                           .mean = normalized ? In<1>{} : mean.in<1>(),
                                           .rstd = rstd.in<1>(),
                                           .dy = dy.in<2>(),
                                           .dsum = dsum.in<2>(),
                                           .dx = dx.out<2>(),
                                           .dweight = dweight.out<1>(),
                                           .dweight_beta = 1,
                                           .dbias = dbias.out<1>(),
                                           .dbias_beta = 0,
                                           .normalized = normalized});
    } else {
      run_on_test_device(RmsNormBackward{.x = from.in<2>(),
                                         .weight = weight.in<1>(),
                                         .rstd = rstd.in<1>(),
                                         .dy = dy.in<2>(),
                                         .dsum = dsum.in<2>(),
                                         .dx = dx.out<2>(),
                                         .dweight = dweight.out<1>(),
                                         .dweight_beta = 1,
                                         .normalized = normalized});
    }
    std::vector<double> dx_expected = ref.dx, dweight_expected = ref.dweight;
    for (int64_t i = 0; i < rows * n; ++i) dx_expected[i] += dsum[i];
    for (int64_t c = 0; c < n; ++c) dweight_expected[c] += before[c];
    const double unit = rounding_unit(statistics());
    // A row of one element has no variance: its gradient is a difference of numbers that are 1/√ε larger.
    const double gain = *std::max_element(ref.rstd.begin(), ref.rstd.end());
    expect_close(dx, dx_expected, 8 * unit, 20 * gain * unit);
    // Sums over rows in another order than the reference's, which in float64 is as far from the truth as the kernel.
    expect_close(dweight, dweight_expected, 8 * unit, 8 * gain * std::sqrt(rows) * unit + 40 * unit);
    if (centered()) expect_close(dbias, ref.dbias, 8 * unit, 8 * std::sqrt(rows) * unit);
  }
}

std::string name_of_case(const testing::TestParamInfo<std::tuple<bool, Case>>& info) {
  const auto& [centered, shape] = info.param;
  return std::string(centered ? "layer" : "rms") + "_" + std::to_string(shape.rows) + "x" + std::to_string(shape.n) +
         "_" + to_string(shape.x) + "_" + to_string(shape.y);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Norm, testing::Combine(testing::Bool(), testing::ValuesIn(cases())), name_of_case);

TEST(LayerNorm, AbsentArgumentsAndASumOf16Bits) {
  const Array x = Array::random(DType::bf16, {6, 50}, 1), residual = Array::random(DType::bf16, {6, 50}, 2);
  Array sum(DType::bf16, {6, 50}), y(DType::f32, {6, 50});
  run_on_test_device(LayerNormForward{.x = x.in<2>(),
                                      .residual = residual.in<2>(),
                                      .weight = {},
                                      .bias = {},
                                      .epsilon = kEpsilon,
                                      .sum = sum.out<2>(),
                                      .y = y.out<2>(),
                                      .mean = {},
                                      .rstd = {}});
  const std::vector<double> ones(50, 1), zeros(50), rounded = sum.values();
  for (int64_t i = 0; i < 300; ++i) EXPECT_EQ(rounded[i], static_cast<float>(BFloat16(x[i] + residual[i])));
  expect_close(y, reference(true, rounded, ones, zeros, rounded, 6, 50).y, 1e-6, 1e-6);
}

TEST(LayerNorm, ALargeMeanLosesNoDigitsOfTheVariance) {
  const Array x = Array::random(DType::f32, {3, 256}, 1, 4000, 4001);
  Array y(DType::f32, {3, 256});
  run_on_test_device(LayerNormForward{.x = x.in<2>(),
                                      .residual = {},
                                      .weight = {},
                                      .bias = {},
                                      .epsilon = kEpsilon,
                                      .sum = {},
                                      .y = y.out<2>(),
                                      .mean = {},
                                      .rstd = {}});
  const std::vector<double> ones(256, 1), zeros(256);
  expect_close(y, reference(true, x.values(), ones, zeros, x.values(), 3, 256).y, 0, 1e-3);
}

// Squares that overflow, infinities and NaN make a row NaN on every device: zeros would hide that a model has failed.
TEST(NormOfOverflow, RowsThatCannotBeNormalisedAreNaN) {
  for (const int64_t width : {70, 3000, 9000}) {
    Array x = Array::random(DType::f32, {4, width}, 1);
    for (int64_t c = 0; c < width; ++c) x.set(c, x[c] * 1e30);  // row 0; row 3 is an ordinary one
    x.set(width + 5, INFINITY);
    x.set(2 * width + 7, NAN);
    for (const bool centered : {false, true}) {
      Array y(DType::f32, {4, width}), rstd(DType::f32, {4});
      if (centered) {
        run_on_test_device(LayerNormForward{.x = x.in<2>(),
                                            .residual = {},
                                            .weight = {},
                                            .bias = {},
                                            .epsilon = kEpsilon,
                                            .sum = {},
                                            .y = y.out<2>(),
                                            .mean = {},
                                            .rstd = rstd.out<1>()});
      } else {
        run_on_test_device(RmsNormForward{.x = x.in<2>(),
                                          .residual = {},
                                          .weight = {},
                                          .epsilon = kEpsilon,
                                          .sum = {},
                                          .y = y.out<2>(),
                                          .rstd = rstd.out<1>()});
      }
      for (int64_t r = 0; r < 4; ++r) {
        EXPECT_EQ(std::isnan(rstd[r]), r < 3) << "row " << r << ", width " << width;
        for (int64_t c = 0; c < width; ++c) ASSERT_EQ(std::isnan(y[r * width + c]), r < 3) << r << " " << c;
      }
    }
  }
}

TEST(LayerNorm, BackwardInPlaceOfDsumOnAnyThreads) {
  const int64_t rows = 1000, n = 70;
  const Array x = Array::random(DType::f32, {rows, n}, 1), dy = Array::random(DType::bf16, {rows, n}, 2);
  const Array mean(DType::f32, {rows}), rstd = Array::random(DType::f32, {rows}, 3, 1, 2);
  const Array dsum = Array::random(DType::f32, {rows, n}, 4);
  const auto run = [&](Array& dx, const In<2>& arriving) {
    Array gradients(DType::f32, {2, n});
    const auto row = [&](int64_t r) { return Out<1>{gradients.out<2>().as<float>() + r * n, DType::f32, {n}, {1}}; };
    run_on_test_device(LayerNormBackward{.x = x.in<2>(),
                                         .weight = {},
                                         .mean = mean.in<1>(),
                                         .rstd = rstd.in<1>(),
                                         .dy = dy.in<2>(),
                                         .dsum = arriving,
                                         .dx = dx.out<2>(),
                                         .dweight = row(0),
                                         .dweight_beta = 0,
                                         .dbias = row(1),
                                         .dbias_beta = 0});
    return gradients.bytes();
  };
  Array dx(DType::f32, {rows, n}), in_place = dsum;
  expect_same_on_any_threads([&] { return run(dx, dsum.in<2>()); });
  run(in_place, in_place.in<2>());
  EXPECT_TRUE(in_place.bytes() == dx.bytes());
}

}  // namespace
}  // namespace tessera
