#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

TEST(Rotary, Everything) {
  const int64_t batch = 2, length = 3, heads = 2, half = 3;
  const Tensor x = uniform({batch, length, heads, 2 * half}, 1);
  const std::vector<double> values = doubles(x);
  std::vector<double> expected(values.size());
  for (int64_t token = 0; token < batch * length; ++token)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(token % length + 11) * std::pow(100.0, -static_cast<double>(i) / half);
        const size_t first = (token * heads + h) * 2 * half + i, second = first + half;
        expected[first] = values[first] * std::cos(angle) - values[second] * std::sin(angle);
        expected[second] = values[second] * std::cos(angle) + values[first] * std::sin(angle);
      }
  check_op([](std::span<const Variable> v) { return ops::rotary(v[0], {.start = 11, .base = 100}); }, {x}, expected);
}

TEST(Rotary, SaysWhatDoesNotFit) {
  expect_error(
      [] {
        ops::rotary(Tensor::zeros({2, 3, 4}, DType::f32));
      },
      "rotary: x must be a floating tensor [B, N, H, D]");
  expect_error(
      [] {
        ops::rotary(Tensor::zeros({2, 3, 4, 5}, DType::f32));
      },
      "rotary: the head size must be even, not 5");
  expect_error([] { ops::rotary(Tensor::zeros({2, 3, 4, 6}, DType::f32), {.start = -1}); }, "start must be at least 0");
}

}  // namespace
}  // namespace tessera
