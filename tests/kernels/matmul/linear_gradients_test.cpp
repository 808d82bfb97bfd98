#include "kernels/matmul/linear_gradients.h"

#include <gtest/gtest.h>

#include "kernels/elementwise/gelu.h"
#include "tests/kernels/array.h"

namespace tessera {
namespace {

constexpr int64_t kRows = 37, kOut = 24, kIn = 16;

double gelu_slope(Activation activation, double x) {
  if (activation == Activation::gelu_exact)
    return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
  const double u = std::sqrt(2 / M_PI), t = std::tanh(u * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * u * (1 + 3 * 0.044715 * x * x);
}

/// What the products of one dtype may be off by.
double tolerance(DType dtype) { return rounding_unit(accumulate_dtype(dtype)) * (8.0 + 2.0 * kRows); }

TEST(LinearGradients, WeightAndBias) {
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    for (const float beta : {0.0f, 1.0f}) {
      for (const bool has_bias : {true, false}) {
        const DType sums = accumulate_dtype(dtype);
        const Array dy = Array::random(dtype, {kRows, kOut}, 1), x = Array::random(dtype, {kRows, kIn}, 2);
        Array dweight = Array::random(sums, {kOut, kIn}, 3), dbias = Array::random(sums, {kOut}, 4);
        std::vector<double> expected(kOut * kIn), expected_bias(kOut);
        for (int64_t n = 0; n < kOut; ++n) {
          expected_bias[n] = beta == 0 ? 0 : dbias[n];
          for (int64_t r = 0; r < kRows; ++r) expected_bias[n] += dy[r * kOut + n];
          for (int64_t c = 0; c < kIn; ++c) {
            double& sum = expected[n * kIn + c];
            sum = beta == 0 ? 0 : dweight[n * kIn + c];
            for (int64_t r = 0; r < kRows; ++r) sum += dy[r * kOut + n] * x[r * kIn + c];
          }
        }
        if (beta == 0) dweight.set(0, NAN), dbias.set(0, NAN);
        run_on_test_device(LinearWeightGradient{.dy = dy.in<2>(),
                                                .x = x.in<2>(),
                                                .dweight = dweight.out<2>(),
                                                .dweight_beta = beta,
                                                .dbias = has_bias ? dbias.out<1>() : Out<1>{},
                                                .dbias_beta = beta});
        expect_close(dweight, expected, 0, tolerance(dtype));
        if (has_bias) expect_close(dbias, expected_bias, 0, tolerance(dtype));
      }
    }
  }
}

TEST(LinearGradients, ThroughTheActivation) {
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    for (const Activation activation : {Activation::gelu_tanh, Activation::gelu_exact}) {
      for (const int64_t in : {kIn, kIn - 1}) {  // cuBLASLt wants lines of a multiple of eight
        const Array dy = Array::random(dtype, {kRows, kOut}, 1), weight = Array::random(dtype, {kOut, in}, 2);
        const Array pre = Array::random(dtype, {kRows, in}, 3, -3, 3);
        Array dpre(dtype, {kRows, in}), x(dtype, {kRows, in}), activated(dtype, {kRows * in});
        std::vector<double> expected(kRows * in);
        for (int64_t r = 0; r < kRows; ++r) {
          for (int64_t c = 0; c < in; ++c) {
            double sum = 0;
            for (int64_t n = 0; n < kOut; ++n) sum += dy[r * kOut + n] * weight[n * in + c];
            expected[r * in + c] = sum * gelu_slope(activation, pre[r * in + c]);
          }
        }
        run_on_test_device(LinearActivationGradient{.dy = dy.in<2>(),
                                                    .weight = weight.in<2>(),
                                                    .pre = pre.in<2>(),
                                                    .activation = activation,
                                                    .dpre = dpre.out<2>(),
                                                    .x = in == kIn ? x.out<2>() : Out<2>{}});
        expect_close(dpre, expected, 4 * rounding_unit(dtype), 2 * tolerance(dtype));
        if (in != kIn) continue;
        run_on_test_device(
            Gelu{.x = {pre.in<2>().data, dtype, {kRows * in}, {1}}, .activation = activation, .y = activated.out<1>()});
        for (int64_t i = 0; i < kRows * in; ++i) ASSERT_EQ(x[i], activated[i]) << to_string(activation) << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace tessera
