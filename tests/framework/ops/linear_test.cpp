#include <gtest/gtest.h>

#include "framework/ops.h"
#include "framework/parameters/arena.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

// x·Wᵀ + b over rows of `x`.
std::vector<double> product(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const int64_t width = weight.dim(1), n = weight.dim(0), rows = x.numel() / width;
  const std::vector<double> a = doubles(x), w = doubles(weight),
                            b = bias.defined() ? doubles(bias) : std::vector<double>();
  std::vector<double> y;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < n; ++i) {
      double sum = b.empty() ? 0 : b[static_cast<size_t>(i)];
      for (int64_t c = 0; c < width; ++c)
        sum += a[static_cast<size_t>(r * width + c)] * w[static_cast<size_t>(i * width + c)];
      y.push_back(sum);
    }
  }
  return y;
}

struct TwoWeights {
  Parameter first{{32, 7}, Init::normal(1)};
  Parameter second{{32, 7}, Init::normal(1)};

  template <class Each>
  void visit(Each&& each) {
    each("second", second);  // an arena lays matrices out in reverse order
    each("first", first);
  }
};

class LinearOps : public testing::Test {
 protected:
  const Tensor x_ = uniform({2, 5, 7}, 1), weight_ = uniform({3, 7}, 2), bias_ = uniform({3}, 3);
};

TEST_F(LinearOps, WithAndWithoutBias) {
  check_op([](std::span<const Variable> v) { return ops::linear(v[0], v[1]); }, {x_, weight_},
           product(x_, weight_, {}));
  check_op([](std::span<const Variable> v) { return ops::linear(v[0], v[1], v[2]); }, {x_, weight_, bias_},
           product(x_, weight_, bias_));
}

TEST_F(LinearOps, ABiasOfAnyLayout) {
  const Op column = [](std::span<const Variable> v) {
    return ops::linear(v[0], v[1], ops::reshape(ops::slice(v[2], 1, 0, 1), {3}));
  };
  const Tensor table = uniform({3, 5}, 9);
  check_op(column, {x_, weight_, table}, product(x_, weight_, table.slice(1, 0, 1).contiguous_copy()));
  const Variable x(x_), weight(weight_), one(Tensor::full({1}, 5, DType::f64).expand({3}));
  const Tensor fives = Tensor::full({3}, 5, DType::f64);
  EXPECT_LE(distance(doubles(ops::linear(x, weight, one).value()), product(x_, weight_, fives)), 1e-14);
}

TEST_F(LinearOps, GeluFused) {
  const auto gelu = [](Activation activation, double u) {
    if (activation == Activation::gelu_exact) return 0.5 * u * std::erfc(-u / std::sqrt(2.0));
    return 0.5 * u * (1 + std::tanh(std::sqrt(2 / M_PI) * (u + 0.044715 * u * u * u)));
  };
  for (const Activation activation : {Activation::gelu_tanh, Activation::gelu_exact}) {
    std::vector<double> expected = product(x_, weight_, bias_);
    for (double& value : expected) value = gelu(activation, value);
    check_op([&](std::span<const Variable> v) { return ops::linear(v[0], v[1], v[2], {.activation = activation}); },
             {x_, weight_, bias_}, expected);
  }
}

TEST_F(LinearOps, ResidualFused) {
  const Tensor residual = uniform({2, 5, 3}, 4);
  std::vector<double> expected = product(x_, weight_, bias_);
  const std::vector<double> added = doubles(residual);
  for (size_t i = 0; i < added.size(); ++i) expected[i] += added[i];
  check_op([](std::span<const Variable> v) { return ops::linear(v[0], v[1], v[2], {.residual = v[3]}); },
           {x_, weight_, bias_, residual}, expected);
}

// A feed-forward: the second product recomputes the activation between the two.
TEST_F(LinearOps, TwoInARow) {
  const Tensor back = uniform({7, 3}, 5);
  const Op op = [](std::span<const Variable> v) {
    return ops::linear(ops::linear(v[0], v[1], v[2], {.activation = Activation::gelu_tanh}), v[3], {},
                       {.residual = v[0]});
  };
  const GradcheckResult result = gradcheck(op, std::vector{x_, weight_, bias_, back});
  EXPECT_TRUE(result.ok) << result.message;
}

TEST_F(LinearOps, AnMlpIsTwoLinearLayers) {
  const Tensor back = uniform({7, 3}, 5), back_bias = uniform({7}, 6);
  for (const Activation activation : {Activation::gelu_tanh, Activation::gelu_exact}) {
    const Op mlp = [&](std::span<const Variable> v) {
      return ops::mlp(v[0], {v[1], v[2], v[3], v[4]}, {.activation = activation, .residual = v[0]});
    };
    const Tensor expected =
        ops::linear(ops::linear(x_, weight_, bias_, {.activation = activation}), back, back_bias, {.residual = x_})
            .value();
    const OpCheckOptions options{.roundings = 2};  // of what is hidden and of the result
    check_op(mlp, {x_, weight_, bias_, back, back_bias}, doubles(expected), options);
    check_op(
        [&](std::span<const Variable> v) {
          return ops::mlp(v[0], {v[1], {}, v[2], {}}, {.activation = activation});
        },
        {x_, weight_, back},
        doubles(ops::linear(ops::linear(x_, weight_, {}, {.activation = activation}), back).value()), options);
  }
  expect_error(
      [&] {
        ops::mlp(x_, {weight_, {}, weight_, {}}, {.activation = Activation::gelu_tanh});
      },
      "linear: x [2, 5, 3] and weight [3, 7] do not fit");
  expect_error([&] { ops::mlp(x_, {weight_, {}, back, {}}, {}); }, "mlp: needs an activation");
}

TEST_F(LinearOps, ANarrowActivationMeetsWideWeightsAndAWideResidual) {
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(x_.to(DType::bf16)), weight = pass.leaf(weight_.to(DType::f32));
  const Variable residual = pass.leaf(uniform({2, 5, 3}, 4).to(DType::f32));
  const Variable y = ops::linear(x, weight, {}, {.residual = residual});
  EXPECT_EQ(y.dtype(), DType::f32);
  backward(y, Tensor::full(y.shape(), 1, DType::f32));
  EXPECT_EQ(x.gradient().dtype(), DType::bf16);
  EXPECT_EQ(weight.gradient().dtype(), DType::f32);
  EXPECT_EQ(doubles(residual.gradient()), std::vector<double>(30, 1));
}

TEST_F(LinearOps, AnyLeadingAxes) {
  for (const Shape& shape : {Shape{7}, Shape{1, 7}, Shape{2, 1, 3, 7}}) {
    const Tensor x = uniform(shape, 9);
    check_op([](std::span<const Variable> v) { return ops::linear(v[0], v[1], v[2]); }, {x, weight_, bias_},
             product(x, weight_, bias_));
  }
  EXPECT_EQ(ops::linear(Tensor::empty({0, 5, 7}, DType::f32), weight_.to(DType::f32)).shape(), Shape({0, 5, 3}));
}

// What a consumer recomputes is bit for bit what the product wrote.
TEST_F(LinearOps, TheRecipeOfAnActivationGivesTheSameBits) {
  const Tensor x = uniform({33, 40}, 1, -2, 2), w = uniform({37, 40}, 2), b = uniform({37}, 3);
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    for (const Activation activation : {Activation::gelu_exact, Activation::gelu_tanh}) {
      const Pass pass = Pass::recording({});
      const Variable y = ops::linear(pass.leaf(x.to(dtype)), pass.leaf(w.to(dtype)), pass.leaf(b.to(dtype)),
                                     {.activation = activation});
      const Tensor again = y.saved().get();
      EXPECT_FALSE(again.shares_memory_with(y.value()));
      EXPECT_EQ(doubles(again), doubles(y.value())) << name_of(dtype) << " " << to_string(activation);
    }
  }
}

// The gradient of the activation's input overwrites dy only where nobody else sees dy.
TEST_F(LinearOps, AGradientThatSomebodyHoldsStaysAsItIs) {
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(x_), w = pass.leaf(weight_);
  const Variable y = ops::linear(x, w, {}, {.activation = Activation::gelu_exact});
  const Tensor dy = uniform(y.shape(), 6);
  const std::vector<double> before = doubles(dy);
  backward(y, dy);
  EXPECT_EQ(doubles(dy), before);
}

TEST_F(LinearOps, AParameterLendsItsMirror) {
  TwoWeights model;
  const ParameterArena arena(model, {.mirror = DType::bf16});
  model.first.state()->mirror.fill(1);  // not what the master weights say
  const Variable y = ops::linear(Tensor::full({1, 7}, 1, DType::bf16), model.first);
  EXPECT_EQ(y.dtype(), DType::bf16);
  EXPECT_EQ(doubles(y.value()), std::vector<double>(32, 7));
}

TEST_F(LinearOps, JointIsTheTwoSideBySide) {
  const Tensor second = uniform({4, 7}, 4), second_bias = uniform({4}, 5);
  const auto joined = [&](const Tensor& bias1, const Tensor& bias2) {
    const std::vector<double> left = product(x_, weight_, bias1), right = product(x_, second, bias2);
    std::vector<double> y;
    for (int64_t r = 0; r < 10; ++r) {
      y.insert(y.end(), left.begin() + r * 3, left.begin() + r * 3 + 3);
      y.insert(y.end(), right.begin() + r * 4, right.begin() + r * 4 + 4);
    }
    return y;
  };
  check_op([](std::span<const Variable> v) { return ops::joint_linear(v[0], v[1], v[2]); }, {x_, weight_, second},
           joined({}, {}));
  check_op([](std::span<const Variable> v) { return ops::joint_linear(v[0], v[1], v[2], v[3], v[4]); },
           {x_, weight_, second, bias_, second_bias}, joined(bias_, second_bias));
}

// Weights that are neighbours in the arena take one product; the numbers must not depend on that.
TEST_F(LinearOps, JointOverNeighboursInTheArena) {
  TwoWeights model;
  const ParameterArena arena(model, {.dtype = DType::f64});
  const std::array values{model.first.value(), model.second.value()};
  EXPECT_TRUE(joined_view(values, 0).defined());
  const auto run = [&](bool joint) {
    arena.begin_window();
    const Pass pass = Pass::recording({});
    const Variable x = pass.leaf(x_);
    const Variable y = joint ? ops::joint_linear(x, model.first, model.second)
                             : ops::concat(std::vector{ops::linear(x, model.first), ops::linear(x, model.second)}, -1);
    backward(y, random_normal(y.shape(), 3, DType::f64));
    return std::array{doubles(y.value()), doubles(x.gradient()), doubles(model.first.gradient()),
                      doubles(model.second.gradient())};
  };
  const auto joint = run(true), apart = run(false);
  for (size_t i = 0; i < joint.size(); ++i) EXPECT_LE(distance(joint[i], apart[i]), 1e-14) << i;
}

TEST_F(LinearOps, SaysWhatDoesNotFit) {
  expect_error([&] { ops::linear(x_, uniform({3, 6}, 1)); }, "linear: x [2, 5, 7] and weight [3, 6] do not fit");
  expect_error([&] { ops::linear(x_, weight_, uniform({4}, 1)); }, "linear: bias [4] does not fit the weight [3, 7]");
  expect_error([&] { ops::linear(Tensor::zeros({2, 7}, DType::i32), weight_); }, "linear: x is int32");
  expect_error([&] { ops::linear(x_, weight_, {}, {.residual = x_}); },
               "linear: the residual is [2, 5, 7], the result [2, 5, 3]");
  expect_error([&] { ops::linear(x_.to(DType::f32), weight_); }, "linear: x is float32 and the weight float64");
  expect_error([&] { ops::linear(x_, weight_.to(DType::f32)); }, "linear: x is float64 and the weight float32");
  expect_error(
      [&] {
        ops::linear(x_, weight_, {}, {.residual = Tensor::zeros({2, 5, 3}, DType::f32)});
      },
      "linear: a float32 residual cannot take a float64 product");
  expect_error(
      [&] {
        ops::linear(x_, weight_, {}, {.activation = Activation::gelu_exact, .residual = uniform({2, 5, 3}, 1)});
      },
      "linear: an activation and a residual cannot be fused");
  expect_error([&] { ops::joint_linear(x_, weight_, uniform({3}, 1)); }, "joint_linear: x [2, 5, 7] and weight [3]");
}

}  // namespace
}  // namespace tessera
