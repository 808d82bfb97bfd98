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

// Logits that nobody else holds become their gradient while the loss is computed, whatever arrives afterwards.
TEST(CrossEntropy, FormsTheGradientWithTheLoss) {
  const Tensor logits = uniform({2, 3, 11}, 1, -3, 3);
  const std::vector<int32_t> ids{0, 10, kIgnore, 3, 3, kIgnore};
  const Tensor targets = Tensor::from(ids, {2, 3});
  const auto loss = [&](std::span<const Variable> v) { return ops::cross_entropy(ops::scale(v[0], 2), targets); };
  check_op(loss, {logits}, {total_loss(ops::scale(logits, 2).value(), ids) / 4});
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const Device device = test_device();
    const Tensor x = logits.to(dtype).to(device), y = targets.to(device),
                 seed = Tensor::full({}, 64, DType::f32, device);
    const auto gradient = [&](const Pass::Options& options, bool held) {
      const Pass pass = Pass::recording(options);
      const Variable leaf = pass.leaf(x), scaled = ops::scale(leaf, 2);
      backward(held ? ops::cross_entropy(scaled, y) : ops::cross_entropy(ops::scale(leaf, 2), y), seed);
      return doubles(leaf.gradient().to(Device{}));
    };
    const std::vector<double> later = gradient({}, true);
    EXPECT_EQ(gradient({.loss_scale = seed}, false), later) << to_string(dtype);
    EXPECT_EQ(gradient({}, false), later) << to_string(dtype);
    if (dtype == DType::f16) continue;  // with another scale other numbers lose digits to the subnormal range
    EXPECT_EQ(gradient({.loss_scale = Tensor::full({}, 16, DType::f32, device)}, false), later) << to_string(dtype);
  }
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

// What a recording pass writes over logits must not reach whoever still holds them: views, saved values, observers.
TEST(CrossEntropy, LeavesLogitsAloneThatSomebodyHolds) {
  const Tensor targets = Tensor::from(std::vector<int32_t>{1, 4}, {2});
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(uniform({2, 5}, 1));
  const auto copied = [&] {
    return record(
        "probe", x.value().contiguous_copy(), [](const Tensor&, GradientSlot) {}, x);
  };
  Tensor view;
  const auto with_a_view = [&] {
    Variable logits = copied();
    view = logits.value().view({10});
    return logits;
  };
  ops::cross_entropy(with_a_view(), targets);
  EXPECT_EQ(doubles(view), doubles(x.value()));
  Variable held = copied();
  ops::cross_entropy(held, targets);
  EXPECT_EQ(doubles(held.value()), doubles(x.value()));
  Tensor watched;
  const Pass shown = Pass::recording({}).with_observer(
      [&](const char*, std::span<const Variable* const> inputs, std::span<const Tensor>) {
        watched = inputs[0]->value().contiguous_copy();
      });
  const Variable leaf = shown.leaf(x.value().contiguous_copy());
  ops::cross_entropy(ops::scale(leaf, 1), targets);
  EXPECT_EQ(doubles(watched), doubles(x.value()));
}

// Values that no op made are the caller's, before and after backward.
TEST(CrossEntropy, LeavesKeepTheirValues) {
  const Tensor targets = Tensor::from(std::vector<int32_t>{1, 4}, {2});
  const std::vector<float> values = uniform({2, 5}, 1).to(DType::f32).to_vector<float>();
  const auto run = [&](const char* what, const std::function<Variable(const Pass&, Tensor)>& logits_of) {
    std::vector<float> memory = values;
    const Pass pass = Pass::recording({});
    const Variable loss =
        ops::cross_entropy(logits_of(pass, Tensor::borrow(memory.data(), {2, 5}, DType::f32)), targets);
    EXPECT_EQ(memory, values) << what;
    if (loss.wants_gradient()) backward(loss);
    EXPECT_EQ(memory, values) << what;
  };
  run("leaf", [](const Pass& pass, Tensor x) { return pass.leaf(std::move(x)); });
  run("view of a leaf", [](const Pass& pass, Tensor x) { return ops::reshape(pass.leaf(std::move(x)), {2, 5}); });
  run("input", [](const Pass& pass, Tensor x) { return pass.input(std::move(x)); });
  const Pass pass = Pass::recording({});
  Variable leaf = pass.leaf(Tensor::from(values, {2, 5}));
  const auto* memory = leaf.value().data<float>();
  const Variable loss = ops::cross_entropy(std::move(leaf), targets);
  EXPECT_EQ(std::vector<float>(memory, memory + 10), values);
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
  expect_error(
      [&] {
        ops::cross_entropy(logits, Tensor::zeros({3, 2}, DType::i32));
      },
      "cross_entropy: logits [2, 3, 11] and int32 targets [3, 2] do not fit");
  expect_error([&] { ops::cross_entropy(logits, Tensor::zeros({2, 3, 1}, DType::i32)); }, "do not fit");
}

}  // namespace
}  // namespace tessera
