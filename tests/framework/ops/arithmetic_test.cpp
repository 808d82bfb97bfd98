#include <gtest/gtest.h>

#include "framework/ops/signs.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

// f(a, b) with broadcasting, element by element from the index.
std::vector<double> broadcast(const Tensor& a, const Tensor& b, const Shape& shape,
                              const std::function<double(double, double)>& f) {
  const std::vector<double> all_a = doubles(a.expand(shape)), all_b = doubles(b.expand(shape));
  std::vector<double> y(all_a.size());
  for (size_t i = 0; i < y.size(); ++i) y[i] = f(all_a[i], all_b[i]);
  return y;
}

struct Shapes {
  Shape a, b, y;
};

// An addition hands one gradient to both sides; whoever changes that of a leaf must not change the other's.
TEST(Arithmetic, AHookMayOverwriteItsLeafsGradient) {
  const Pass pass = Pass::recording({});
  const Variable a = pass.leaf(uniform({2}, 1)), b = pass.leaf(uniform({2}, 2));
  pass.on_gradient_ready(a, [](const Tensor& gradient) { gradient.fill(0); });
  const Variable y = ops::add(a, ops::scale(b, 3));
  const Tensor dy = Tensor::full({2}, 1, DType::f64);
  backward(y, dy);
  EXPECT_EQ(doubles(a.gradient()), (std::vector<double>{0, 0}));
  EXPECT_EQ(doubles(b.gradient()), (std::vector<double>{3, 3}));
  EXPECT_EQ(doubles(dy), (std::vector<double>{1, 1}));
}

class Broadcast : public testing::TestWithParam<Shapes> {};

TEST_P(Broadcast, AddAndMul) {
  const auto& [a_shape, b_shape, y_shape] = GetParam();
  const Tensor a = uniform(a_shape, 1), b = uniform(b_shape, 2);
  check_op([](std::span<const Variable> x) { return ops::add(x[0], x[1]); }, {a, b},
           broadcast(a, b, y_shape, std::plus<>()));
  check_op([](std::span<const Variable> x) { return ops::mul(x[0], x[1]); }, {a, b},
           broadcast(a, b, y_shape, std::multiplies<>()));
}

INSTANTIATE_TEST_SUITE_P(Shapes, Broadcast,
                         testing::Values(Shapes{{3, 5, 7}, {3, 5, 7}, {3, 5, 7}}, Shapes{{}, {}, {}},
                                         Shapes{{4, 3, 5}, {5}, {4, 3, 5}}, Shapes{{3, 1}, {2, 3, 4}, {2, 3, 4}},
                                         Shapes{{2, 1, 3, 1}, {4, 1, 5}, {2, 4, 3, 5}},
                                         Shapes{{1, 1, 6}, {6}, {1, 1, 6}},
                                         Shapes{{2, 3, 5, 7}, {1, 3, 1, 7}, {2, 3, 5, 7}}, Shapes{{3, 4}, {}, {3, 4}}),
                         [](const auto& info) { return "case_" + std::to_string(info.index); });

struct Scaled {
  Parameter w{{4}, Init::ones()};

  template <class Each>
  void visit(Each&& each) {
    each("w", w);
  }
};

TEST(Signs, AreTheOps) {
  const Tensor a = uniform({3, 4}, 1), b = uniform({4}, 2);
  const auto expected = [&](auto f) { return broadcast(a, b, {3, 4}, f); };
  check_op([](std::span<const Variable> x) { return x[0] + x[1]; }, {a, b}, expected(std::plus<>()));
  check_op([](std::span<const Variable> x) { return x[0] - x[1]; }, {a, b}, expected(std::minus<>()));
  check_op([](std::span<const Variable> x) { return x[0] * x[1]; }, {a, b}, expected(std::multiplies<>()));
  check_op([](std::span<const Variable> x) { return 2 * x[0] / 4 - x[1] * 0.5; }, {a, b},
           expected([](double p, double q) { return p / 2 - q / 2; }));
  Scaled model;
  initialize(model);
  EXPECT_EQ(doubles((Pass::inference().input(a) * model.w).value()), doubles(a)) << "a parameter needs no cast";
}

TEST(Add, OneTensorTwice) {
  const Tensor a = uniform({3, 4}, 1);
  check_op([](std::span<const Variable> x) { return ops::add(x[0], x[0]); }, {a},
           broadcast(a, a, {3, 4}, std::plus<>()));
  check_op([](std::span<const Variable> x) { return ops::mul(x[0], x[0]); }, {a},
           broadcast(a, a, {3, 4}, std::multiplies<>()));
}

TEST(Add, MixedDtypesGiveTheWiderOneAndGradientsTheirOwn) {
  const std::vector<std::array<DType, 3>> cases = {{DType::f32, DType::bf16, DType::f32},
                                                   {DType::f16, DType::bf16, DType::f32},
                                                   {DType::bf16, DType::bf16, DType::bf16},
                                                   {DType::f64, DType::f16, DType::f64}};
  for (const auto& [first, second, wider] : cases) {
    for (const auto& op : {ops::add, ops::mul}) {
      const Pass pass = Pass::recording({});
      const Variable a = pass.leaf(uniform({4, 6}, 1).to(first)), b = pass.leaf(uniform({6}, 2).to(second));
      const Variable y = op(a, b);
      EXPECT_EQ(y.dtype(), wider);
      backward(y, Tensor::full({4, 6}, 1, wider));
      EXPECT_EQ(a.gradient().dtype(), first);
      EXPECT_EQ(b.gradient().dtype(), second);
    }
  }
}

TEST(Add, AParameterTakesTheDtypeOfTheActivationItMeets) {
  const Parameter bias({6}, Init::ones());
  bias.state()->value = Tensor::full({6}, 0.5, DType::f32);
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(uniform({4, 6}, 1).to(DType::bf16));
  const Variable y = ops::add(x, bias);
  EXPECT_EQ(y.dtype(), DType::bf16);
  backward(y, Tensor::full({4, 6}, 1, DType::bf16));
  EXPECT_EQ(doubles(bias.gradient()), std::vector<double>(6, 4));
  EXPECT_EQ(bias.gradient().dtype(), DType::f32);
}

TEST(Add, SaysWhatDoesNotFit) {
  const Variable a = Tensor::zeros({3, 4}, DType::f32);
  expect_error([&] { ops::add(a, Tensor::zeros({3}, DType::f32)); }, "add: [3, 4] and [3] do not broadcast");
  expect_error([&] { ops::mul(a, Tensor::zeros({3, 4}, DType::i32)); }, "mul: float32 and int32 are not both floating");
  expect_error([&] { ops::add(a, Tensor::zeros({1, 1, 1, 3, 4}, DType::f32)); }, "more than four axes");
}

TEST(Scale, Everything) {
  const Tensor x = uniform({3, 7}, 1);
  std::vector<double> expected = doubles(x);
  for (double& value : expected) value *= -0.3;
  check_op([](std::span<const Variable> v) { return ops::scale(v[0], -0.3); }, {x}, expected);
  expect_error([] { ops::scale(Tensor::zeros({2}, DType::i32), 2); }, "scale: x is int32");
}

}  // namespace
}  // namespace tessera
