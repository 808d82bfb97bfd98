#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

TEST(Views, Reshape) {
  const Tensor x = uniform({4, 3, 5}, 1);
  check_op([](std::span<const Variable> v) { return ops::reshape(v[0], {6, -1}); }, {x}, doubles(x));
}

TEST(Views, Transpose) {
  const Tensor x = uniform({2, 3, 4}, 1);
  const std::vector<double> all = doubles(x);
  std::vector<double> expected;
  for (int64_t c = 0; c < 4; ++c)
    for (int64_t b = 0; b < 3; ++b)
      for (int64_t a = 0; a < 2; ++a) expected.push_back(all[(a * 3 + b) * 4 + c]);
  check_op([](std::span<const Variable> v) { return ops::transpose(v[0], 0, -1); }, {x}, expected);
}

TEST(Views, SliceOfEveryAxis) {
  const Tensor x = uniform({3, 4, 5}, 1);
  const std::vector<double> all = doubles(x);
  for (int axis = 0; axis < 3; ++axis) {
    std::vector<double> expected;
    for (int64_t i = 0; i < 60; ++i) {
      const int64_t at = std::array{i / 20, i / 5 % 4, i % 5}[axis];
      if (at == 1 || at == 2) expected.push_back(all[i]);
    }
    check_op([axis](std::span<const Variable> v) { return ops::slice(v[0], axis, 1, 3); }, {x}, expected);
  }
}

TEST(Views, PiecesOfOneTensorUsedSeveralTimes) {
  const Tensor x = uniform({3, 7}, 1);
  const Op overlapping = [](std::span<const Variable> v) {
    const Variable left = ops::slice(v[0], 1, 0, 4), right = ops::slice(v[0], -1, 3, 7);
    return ops::add(ops::mul(left, right), ops::mul(left, left));
  };
  const Op split = [](std::span<const Variable> v) {
    const std::vector<Variable> parts = ops::split(v[0], std::array<int64_t, 3>{2, 3, 2});
    return ops::mul(ops::mul(parts[0], parts[2]), ops::reshape(ops::sum(parts[1], 1), {3, 1}));
  };
  const Op one_unused = [](std::span<const Variable> v) {
    return ops::mul(ops::split(v[0], std::array<int64_t, 2>{3, 4})[1], ops::slice(v[0], 1, 0, 1));
  };
  for (const Op& op : {overlapping, split, one_unused}) {
    const GradcheckResult result = gradcheck(op, std::vector{x});
    EXPECT_TRUE(result.ok) << result.message;
  }
}

TEST(Views, ShareMemory) {
  const Variable x = uniform({4, 6}, 1);
  EXPECT_TRUE(ops::reshape(x, {8, 3}).value().shares_memory_with(x.value()));
  EXPECT_TRUE(ops::transpose(x, 0, 1).value().shares_memory_with(x.value()));
  EXPECT_TRUE(ops::slice(x, 0, 1, 2).value().shares_memory_with(x.value()));
}

// Gradients that already lie side by side become the gradient of the whole as they are.
TEST(Views, NeighbouringGradientsAreNotCopied) {
  const Pass pass = Pass::recording({});
  Tensor arrived;
  const Variable x = record(
      "witness", uniform({2, 9}, 1), [&](const Tensor& dy, GradientSlot) { arrived = dy; },
      pass.leaf(Tensor::zeros({1}, DType::f64)));
  const int64_t sizes[] = {4, 5};
  const std::vector<Variable> pieces = ops::split(x, sizes);
  const Tensor whole = uniform({2, 9}, 2);
  const Variable joint = record(
      "probe", Tensor::zeros({1}, DType::f64),
      [whole](const Tensor&, GradientSlot first, GradientSlot second) {
        first.add(whole.slice(1, 0, 4));
        second.add(whole.slice(1, 4, 9));
      },
      pieces[0], pieces[1]);
  backward(joint);
  EXPECT_TRUE(arrived.shares_memory_with(whole));
  EXPECT_EQ(doubles(arrived), doubles(whole));
}

TEST(Views, TheGradientOfALeafIsContiguous) {
  const Variable x = Pass::recording({}).leaf(uniform({2, 3}, 1));
  const Tensor dy = uniform({3, 2}, 2);
  backward(ops::transpose(x, 0, 1), dy);
  EXPECT_TRUE(x.gradient().contiguous());
  EXPECT_EQ(doubles(x.gradient()), doubles(dy.transpose(0, 1)));
}

TEST(Views, SaysWhatDoesNotFit) {
  const Variable x = uniform({4, 6}, 1);
  EXPECT_THROW(ops::reshape(x, {5, 5}), Error);
  EXPECT_THROW(ops::slice(x, 0, 3, 5), Error);
  expect_error([&] { ops::split(x, std::array<int64_t, 2>{2, 3}); }, "split: the sizes do not add up");
  expect_error([&] { ops::split(x, std::array<int64_t, 4>{1, 2, 2, 1}); }, "split: 4 pieces were asked for");
  const Pass pass = Pass::recording({});
  const Variable five = pass.leaf(uniform({2, 2, 2, 2, 2}, 1));
  expect_error([&] { ops::slice(five, 0, 0, 1); }, "slice: gradients of tensors with 5 axes are not supported");
}

}  // namespace
}  // namespace tessera
