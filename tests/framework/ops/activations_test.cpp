#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

std::vector<double> apply(const Tensor& x, const std::function<double(double)>& f) {
  std::vector<double> y = doubles(x);
  for (double& value : y) value = f(value);
  return y;
}

double silu(double x) { return x / (1 + std::exp(-x)); }

TEST(Gelu, Exact) {
  const Tensor x = uniform({5, 3, 7}, 1, -4, 4);
  check_op([](std::span<const Variable> v) { return ops::gelu(v[0]); }, {x},
           apply(x, [](double u) { return 0.5 * u * (1 + std::erf(u / std::sqrt(2.0))); }));
}

TEST(Gelu, Tanh) {
  const Tensor x = uniform({5, 21}, 1, -4, 4);
  check_op(
      [](std::span<const Variable> v) { return ops::gelu(v[0], Activation::gelu_tanh); }, {x},
      apply(x, [](double u) { return 0.5 * u * (1 + std::tanh(std::sqrt(2 / M_PI) * (u + 0.044715 * u * u * u))); }));
  expect_error([&] { ops::gelu(x, Activation::none); }, "gelu: the activation must be");
  expect_error([] { ops::gelu(Tensor::zeros({2}, DType::i32)); }, "gelu: x is int32");
}

TEST(Silu, Everything) {
  const Tensor x = uniform({4, 9}, 1, -6, 6);
  check_op([](std::span<const Variable> v) { return ops::silu(v[0]); }, {x}, apply(x, silu));
}

TEST(SwiGlu, Everything) {
  const int64_t width = 5;
  const Tensor x = uniform({3, 4, 2 * width}, 1, -3, 3);
  const std::vector<double> both = doubles(x);
  std::vector<double> expected;
  for (int64_t r = 0; r < 12; ++r) {
    for (int64_t f = 0; f < width; ++f) {
      expected.push_back(silu(both[r * 2 * width + f]) * both[r * 2 * width + width + f]);
    }
  }
  check_op([](std::span<const Variable> v) { return ops::swiglu(v[0]); }, {x}, expected);
  expect_error(
      [] {
        ops::swiglu(Tensor::zeros({2, 5}, DType::f32));
      },
      "swiglu: the last extent of [2, 5] must be even");
}

// A product that follows an activation keeps its input and recomputes its output.
TEST(Activations, AConsumerMayRecomputeThem) {
  const Tensor x = uniform({3, 4}, 1, -3, 3), w = uniform({3, 4}, 2), w_half = uniform({3, 2}, 3);
  check_op([](std::span<const Variable> v) { return ops::mul(ops::gelu(v[0]), v[1]); }, {x, w},
           [&] {
             std::vector<double> y = apply(x, [](double u) { return 0.5 * u * std::erfc(-u / std::sqrt(2.0)); });
             for (size_t i = 0; i < y.size(); ++i) y[i] *= doubles(w)[i];
             return y;
           }(),
           {.roundings = 2});  // of the activation and of the product
  for (const auto& op : {ops::silu, ops::swiglu}) {
    const Tensor& weight = op == ops::silu ? w : w_half;
    const Op product = [op](std::span<const Variable> v) { return ops::mul(op(v[0]), v[1]); };
    EXPECT_TRUE(gradcheck(product, std::vector{x, weight}).ok);
  }
}

}  // namespace
}  // namespace tessera
