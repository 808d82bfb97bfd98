#include <numeric>

#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

TEST(Sum, OfEverything) {
  for (const Shape& shape : {Shape{3, 5, 7}, Shape{1}, Shape{}}) {
    const Tensor x = uniform(shape, 1, 0, 1);
    const std::vector<double> all = doubles(x);
    const double total = std::accumulate(all.begin(), all.end(), 0.0);
    check_op([](std::span<const Variable> v) { return ops::sum(v[0]); }, {x}, {total});
    check_op([](std::span<const Variable> v) { return ops::mean(v[0]); }, {x},
             {total / static_cast<double>(all.size())});
  }
}

TEST(Sum, OverOneAxis) {
  const Tensor x = uniform({3, 5, 7}, 1);
  const std::vector<double> all = doubles(x);
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t n = x.dim(axis), inner = axis == 0 ? 35 : axis == 1 ? 7 : 1;
    std::vector<double> expected(all.size() / n);
    for (size_t i = 0; i < all.size(); ++i) expected[i / (n * inner) * inner + i % inner] += all[i];
    check_op([axis](std::span<const Variable> v) { return ops::sum(v[0], axis); }, {x}, expected);
    check_op([axis](std::span<const Variable> v) { return ops::sum(v[0], axis - 3); }, {x}, expected);
  }
}

TEST(Sum, Of16BitIsFloat32) {
  const Variable x = Tensor::full({3000}, 1, DType::bf16);
  EXPECT_EQ(ops::sum(x).dtype(), DType::f32);
  EXPECT_EQ(ops::sum(x).value().item(), 3000);
  EXPECT_EQ(ops::sum(x, 0).value().item(), 3000);
}

TEST(Sum, SaysWhatDoesNotFit) {
  expect_error([] { ops::sum(Tensor::zeros({2}, DType::i32)); }, "sum: x is int32");
  expect_error([] { ops::sum(Tensor::zeros({2, 3}, DType::f32), 2); }, "sum: [2, 3] has no axis 2");
  expect_error([] { ops::mean(Tensor::zeros({2, 0}, DType::f32)); }, "mean: [2, 0] has no elements");
}

}  // namespace
}  // namespace tessera
