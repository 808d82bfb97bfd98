#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

TEST(Concat, AlongEveryAxis) {
  for (int axis = 0; axis < 3; ++axis) {
    std::vector<Tensor> parts;
    for (int i = 0; i < 3; ++i) parts.push_back(uniform(Shape{2, 3, 4}.with(axis, i + 1), 10 + i));
    const Shape whole = Shape{2, 3, 4}.with(axis, 6);
    std::vector<double> expected(whole.numel());
    int64_t begin = 0;
    for (const Tensor& part : parts) {
      const std::vector<double> values = doubles(part);
      const Shape strides = whole.row_major_strides();
      for (int64_t i = 0; i < part.numel(); ++i) {
        const int64_t a = i / (part.dim(1) * part.dim(2)), b = i / part.dim(2) % part.dim(1), c = i % part.dim(2);
        expected[a * strides[0] + b * strides[1] + c + begin * strides[axis]] = values[i];
      }
      begin += part.dim(axis);
    }
    for (const int counted : {axis, axis - 3}) {
      check_op([counted](std::span<const Variable> v) { return ops::concat(v, counted); }, parts, expected);
    }
  }
}

TEST(Concat, OnePartTwice) {
  const Op op = [](std::span<const Variable> v) { return ops::concat(std::vector{v[0], v[0]}, 0); };
  const Tensor x = uniform({2, 3}, 1);
  std::vector<double> expected = doubles(x);
  expected.insert(expected.end(), expected.begin(), expected.begin() + 6);
  check_op(op, {x}, expected);
}

TEST(Concat, SaysWhatDoesNotFit) {
  const Variable a = Tensor::zeros({2, 3}, DType::f32), b = Tensor::zeros({2, 4}, DType::f32);
  expect_error(
      [&] {
        ops::concat(std::vector{a, b}, 0);
      },
      "concat: float32 [2, 3] and float32 [2, 4] do not fit along axis 0");
  expect_error([&] { ops::concat(std::vector{a, b}, 2); }, "concat: [2, 3] has no axis 2");
  expect_error([&] { ops::concat(std::vector<Variable>{}, 0); }, "concat: there is nothing to join");
  const Variable c = Tensor::zeros({2, 3}, DType::bf16);
  expect_error([&] { ops::concat(std::vector{a, c}, 0); }, "bfloat16 [2, 3] do not fit");
}

}  // namespace
}  // namespace tessera
