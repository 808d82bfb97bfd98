#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

constexpr int32_t kIgnore = -1;

// Σ over the tokens that count of log Σ exp(logits) − logits[target].
double total_loss(const Tensor& logits, const std::vector<int32_t>& targets) {
  const std::vector<double> x = doubles(logits);
  const size_t width = static_cast<size_t>(logits.dim(-1));
  double total = 0;
  for (size_t r = 0; r < targets.size(); ++r) {
    if (targets[r] == kIgnore) continue;
    double sum = 0;
    for (size_t v = 0; v < width; ++v) sum += std::exp(x[r * width + v]);
    total += std::log(sum) - x[r * width + static_cast<size_t>(targets[r])];
  }
  return total;
}

TEST(CrossEntropy, MeanOverTheTokensThatCount) {
  const Tensor logits = uniform({2, 3, 11}, 1, -3, 3);
  const std::vector<int32_t> ids{0, 10, kIgnore, 3, 3, kIgnore};
  const Tensor targets = Tensor::from(ids, {2, 3});
  const double total = total_loss(logits, ids);
  check_op([&](std::span<const Variable> v) { return ops::cross_entropy(v[0], targets); }, {logits}, {total / 4});
  check_op([&](std::span<const Variable> v) { return ops::cross_entropy(v[0], targets, {.denominator = 100}); },
           {logits}, {total / 100});
}

TEST(CrossEntropy, NothingCounts) {
  const Pass pass = Pass::recording({});
  const Variable logits = pass.leaf(uniform({2, 5}, 1));
  const Variable loss = ops::cross_entropy(logits, Tensor::from(std::vector<int32_t>{kIgnore, kIgnore}, {2}));
  EXPECT_EQ(loss.value().item(), 0);
  backward(loss);
  EXPECT_EQ(doubles(logits.gradient()), std::vector<double>(10, 0));
}

// The logits' memory becomes that of their gradient, unless somebody still holds them.
TEST(CrossEntropy, ReusesTheMemoryOfTheLogits) {
  const Tensor targets = Tensor::from(std::vector<int32_t>{1, 4}, {2});
  for (const bool held : {false, true}) {
    const Pass pass = Pass::recording({});
    const Variable x = pass.leaf(uniform({2, 5}, 1));
    const void* of_logits = nullptr;
    const void* of_gradient = nullptr;
    Tensor kept;
    Variable loss;
    {
      const Variable logits = record(
          "probe", x.value().contiguous_copy(),
          [&](const Tensor& dy, GradientSlot dx) {
            of_gradient = dy.address();
            dx.add(dy);
          },
          x);
      of_logits = logits.value().address();
      if (held) kept = logits.value();
      loss = ops::cross_entropy(logits, targets);
    }
    backward(loss);
    EXPECT_EQ(of_gradient == of_logits, !held);
    if (held) {
      EXPECT_EQ(doubles(kept), doubles(x.value()));
    }
  }
}

TEST(CrossEntropy, SaysWhichTargetIsBad) {
  const Variable logits = uniform({2, 3, 11}, 1);
  const auto loss = [&](const std::vector<int32_t>& ids) {
    return ops::cross_entropy(logits, Tensor::from(ids, {static_cast<int64_t>(ids.size())}));
  };
  expect_error([&] { loss({0, 0, 0, 11, 0, 0}); }, "cross_entropy: target 3 is 11, outside the vocabulary of 11");
  expect_error([&] { loss({0, -2, 0, 0, 0, 0}); }, "cross_entropy: target 1 is -2");
  expect_error([&] { loss({0, 0, 0}); }, "cross_entropy: logits [2, 3, 11] and int32 targets [3] do not fit");
  expect_error([&] { ops::cross_entropy(logits, Tensor::zeros({2, 3}, DType::f32)); }, "do not fit");
}

}  // namespace
}  // namespace tessera
