#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

constexpr double kEpsilon = 1e-3;

// Rows of `s` normalised, times weight, plus bias.
std::vector<double> normalized(const std::vector<double>& s, const std::vector<double>& weight,
                               const std::vector<double>& bias, bool centered) {
  const size_t n = weight.size();
  std::vector<double> y(s.size());
  for (size_t row = 0; row < s.size(); row += n) {
    double mean = 0, variance = 0;
    for (size_t c = 0; c < n && centered; ++c) mean += s[row + c] / static_cast<double>(n);
    for (size_t c = 0; c < n; ++c) variance += (s[row + c] - mean) * (s[row + c] - mean) / static_cast<double>(n);
    for (size_t c = 0; c < n; ++c) {
      y[row + c] = (s[row + c] - mean) / std::sqrt(variance + kEpsilon) * weight[c] + bias[c];
    }
  }
  return y;
}

class NormOps : public testing::Test {
 protected:
  const Tensor x_ = uniform({3, 4, 7}, 1, -1, 2), residual_ = uniform({3, 4, 7}, 2), weight_ = uniform({7}, 3, 0.5, 2);
  const Tensor bias_ = uniform({7}, 4);
  const std::vector<double> ones_ = std::vector<double>(7, 1), zeros_ = std::vector<double>(7, 0);
  const ops::NormOptions options_{.epsilon = kEpsilon};

  std::vector<double> sum() const {
    std::vector<double> s = doubles(x_);
    const std::vector<double> residual = doubles(residual_);
    for (size_t i = 0; i < s.size(); ++i) s[i] += residual[i];
    return s;
  }
  // What an op with two results gives when both are joined.
  static std::vector<double> both(std::vector<double> first, const std::vector<double>& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
  }
};

TEST_F(NormOps, LayerNorm) {
  check_op([&](std::span<const Variable> v) { return ops::layer_norm(v[0], v[1], v[2], options_); },
           {x_, weight_, bias_}, normalized(doubles(x_), doubles(weight_), doubles(bias_), true));
  check_op([&](std::span<const Variable> v) { return ops::layer_norm(v[0], v[1], {}, options_); }, {x_, weight_},
           normalized(doubles(x_), doubles(weight_), zeros_, true));
  check_op([&](std::span<const Variable> v) { return ops::layer_norm(v[0], {}, {}, options_); }, {x_},
           normalized(doubles(x_), ones_, zeros_, true));
}

TEST_F(NormOps, OneVectorAsWeightAndBias) {
  check_op([&](std::span<const Variable> v) { return ops::layer_norm(v[0], v[1], v[1], options_); }, {x_, weight_},
           normalized(doubles(x_), doubles(weight_), doubles(weight_), true));
}

TEST_F(NormOps, RmsNorm) {
  check_op([&](std::span<const Variable> v) { return ops::rms_norm(v[0], v[1], options_); }, {x_, weight_},
           normalized(doubles(x_), doubles(weight_), zeros_, false));
}

TEST_F(NormOps, TheResidualIsAddedFirst) {
  const auto joined = [](const std::array<Variable, 2>& results) { return ops::concat(results, 0); };
  check_op([&](std::span<const Variable> v) { return joined(ops::add_layer_norm(v[0], v[1], v[2], v[3], options_)); },
           {x_, residual_, weight_, bias_}, both(sum(), normalized(sum(), doubles(weight_), doubles(bias_), true)));
  check_op([&](std::span<const Variable> v) { return joined(ops::add_rms_norm(v[0], v[1], v[2], options_)); },
           {x_, residual_, weight_}, both(sum(), normalized(sum(), doubles(weight_), zeros_, false)));
}

TEST_F(NormOps, OneOfTheTwoResultsMayGoUnused) {
  const Op only_sum = [&](std::span<const Variable> v) {
    return ops::add_layer_norm(v[0], v[1], v[2], v[3], options_)[0];
  };
  const Op only_norm = [&](std::span<const Variable> v) {
    return ops::add_layer_norm(v[0], v[1], v[2], v[3], options_)[1];
  };
  const std::vector<Tensor> inputs{x_, residual_, weight_, bias_};
  for (const Op& op : {only_sum, only_norm}) {
    const GradcheckResult result = gradcheck(op, inputs);
    EXPECT_TRUE(result.ok) << result.message;
  }
}

// A wide residual stream goes in, the compute dtype comes out; x is used twice, so its gradient adds up. What was
// normalised is kept in that dtype, which shows in the gradients.
TEST_F(NormOps, AnotherDtypeOutAndAGradientThatWaits) {
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(x_.to(DType::f32)), weight = pass.leaf(weight_.to(DType::f32));
  const Variable y = ops::layer_norm(x, weight, {}, {.epsilon = kEpsilon, .dtype = DType::bf16});
  EXPECT_EQ(y.dtype(), DType::bf16);
  const Variable back = ops::add(x, ops::cast(y, DType::f32));
  backward(back, Tensor::full(back.shape(), 1, DType::f32));
  EXPECT_EQ(x.gradient().dtype(), DType::f32);

  const Op same = [&](std::span<const Variable> v) {
    return ops::add(v[0], ops::layer_norm(v[0], v[1], {}, options_));
  };
  const OpResult wide = run_op(same, std::vector{x_, weight_}, {}, Tensor::full(x_.shape(), 1, DType::f64));
  EXPECT_LE(distance(doubles(x.gradient()), doubles(wide.gradients[0])), 0x1p-8);
  EXPECT_LE(distance(doubles(weight.gradient()), doubles(wide.gradients[1])), 0x1p-8);
}

// x itself would be infinite in float16; what backward needs of it is not.
TEST_F(NormOps, AStreamBeyondTheRangeOfFloat16) {
  for (const bool centered : {true, false}) {
    const Pass pass = Pass::recording({});
    const Tensor large = uniform({5, 64}, 1, -1e7, 1e7).to(DType::f32),
                 weight = uniform({64}, 3, 0.5, 2).to(DType::f32);
    const Variable x = pass.leaf(large), w = pass.leaf(weight);
    const ops::NormOptions options{.dtype = DType::f16};
    const Variable y = centered ? ops::layer_norm(x, w, {}, options) : ops::rms_norm(x, w, options);
    backward(y, Tensor::full(y.shape(), 1, DType::f16));
    for (const Tensor& tensor : {y.value(), x.gradient(), w.gradient()}) {
      for (const double value : doubles(tensor)) ASSERT_TRUE(std::isfinite(value));
    }
  }
}

// A product keeps the norm's recipe, not its output: the gradient of the other factor is that output again.
TEST_F(NormOps, TheOutputIsRecomputedForConsumers) {
  const Op layer = [&](std::span<const Variable> v) {
    return ops::mul(ops::layer_norm(v[0], v[1], v[2], options_), v[3]);
  };
  const Op fused = [&](std::span<const Variable> v) {
    return ops::mul(ops::add_rms_norm(v[0], v[3], v[1], options_)[1], v[3]);
  };
  for (const Op& op : {layer, fused}) {
    const GradcheckResult result = gradcheck(op, std::vector{x_, weight_, bias_, residual_});
    EXPECT_TRUE(result.ok) << result.message;
  }
}

TEST_F(NormOps, SaysWhatDoesNotFit) {
  expect_error([&] { ops::layer_norm(x_, uniform({6}, 1), {}); },
               "layer_norm: x is [3, 4, 7], but weight or bias is [6]");
  expect_error([&] { ops::rms_norm(Tensor::zeros({2}, DType::i32), {}); }, "rms_norm: x must be a floating tensor");
  expect_error([&] { ops::add_rms_norm(x_, uniform({7}, 1), weight_); },
               "add_rms_norm: x is [3, 4, 7], the residual [7]");
}

}  // namespace
}  // namespace tessera
