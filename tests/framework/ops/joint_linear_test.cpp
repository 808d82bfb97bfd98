// Two projections with one product where their weights are neighbours: which weights and biases are, which of them want
// a gradient, and windows of several micro-steps.
#include <gtest/gtest.h>

#include "framework/ops.h"
#include "framework/parameters/arena.h"
#include "tests/framework/ops/op_check.h"
#include "tests/support/devices.h"
#ifdef TESSERA_SIMT
#include "kernels/simt/stream.h"
#endif

namespace tessera {
namespace {

// x·Wᵀ + b; an undefined bias counts as zero.
std::vector<double> projected(const Tensor& x, const Tensor& w, const Tensor& b = {}) {
  const std::vector<double> rows = doubles(x), weights = doubles(w);
  const std::vector<double> bias = b.defined() ? doubles(b) : std::vector<double>(static_cast<size_t>(w.dim(0)));
  const int64_t in = w.dim(1), out = w.dim(0);
  std::vector<double> y;
  for (int64_t row = 0; row < x.numel() / in; ++row) {
    for (int64_t n = 0; n < out; ++n) {
      double sum = bias[static_cast<size_t>(n)];
      for (int64_t c = 0; c < in; ++c) sum += rows[row * in + c] * weights[n * in + c];
      y.push_back(sum);
    }
  }
  return y;
}

struct TwoParameters {
  TwoParameters(const Shape& shape1, const Shape& shape2)
      : first(shape1, Init::normal(1)), second(shape2, Init::normal(1)) {}

  Parameter first, second;

  template <class Each>
  void visit(Each&& each) {
    each("first", first);
    each("second", second);
  }
};

class JointLinear : public testing::Test {
 protected:
  const Tensor x_ = uniform({2, 3, 5}, 1), w_ = uniform({7, 5}, 2), b_ = uniform({7}, 3);
  const Tensor w1_ = w_.slice(0, 0, 4).contiguous_copy(), w2_ = w_.slice(0, 4, 7).contiguous_copy();
  const Tensor b1_ = b_.slice(0, 0, 4).contiguous_copy(), b2_ = b_.slice(0, 4, 7).contiguous_copy();
};

TEST_F(JointLinear, NeighboursInMemory) {
  const auto cut = [](const Variable& whole) {
    return std::pair(ops::slice(whole, 0, 0, 4), ops::slice(whole, 0, 4, 7));
  };
  const Op with_bias = [&](std::span<const Variable> v) {
    const auto [w1, w2] = cut(v[1]);
    const auto [b1, b2] = cut(v[2]);
    return ops::joint_linear(v[0], w1, w2, b1, b2);
  };
  check_op(with_bias, {x_, w_, b_}, projected(x_, w_, b_));
  const Op lone_biases = [&](std::span<const Variable> v) {
    const auto [w1, w2] = cut(v[1]);
    return ops::joint_linear(v[0], w1, w2, v[2], v[3]);
  };
  check_op(lone_biases, {x_, w_, b1_, b2_}, projected(x_, w_, b_));
  const Op second_bias = [&](std::span<const Variable> v) {
    const auto [w1, w2] = cut(v[1]);
    return ops::joint_linear(v[0], w1, w2, {}, v[2]);
  };
  const Tensor second = Tensor::zeros({7}, DType::f64);
  second.slice(0, 4, 7).copy_from(b2_);
  check_op(second_bias, {x_, w_, b2_}, projected(x_, w_, second));
}

TEST_F(JointLinear, OneWeightTwice) {
  const Tensor twice = Tensor::empty({8, 5}, DType::f64);
  for (const int64_t half : {0, 4}) twice.slice(0, half, half + 4).copy_from(w1_);
  check_op([](std::span<const Variable> v) { return ops::joint_linear(v[0], v[1], v[1]); }, {x_, w1_},
           projected(x_, twice));
}

TEST_F(JointLinear, OneBias) {
  const Tensor first = Tensor::zeros({7}, DType::f64), second = Tensor::zeros({7}, DType::f64);
  first.slice(0, 0, 4).copy_from(b1_);
  second.slice(0, 4, 7).copy_from(b2_);
  check_op([](std::span<const Variable> v) { return ops::joint_linear(v[0], v[1], v[2], v[3]); }, {x_, w1_, w2_, b1_},
           projected(x_, w_, first));
  check_op([](std::span<const Variable> v) { return ops::joint_linear(v[0], v[1], v[2], {}, v[3]); },
           {x_, w1_, w2_, b2_}, projected(x_, w_, second));
}

#ifdef TESSERA_SIMT
TEST_F(JointLinear, NeighboursAreOneProduct) {
  if (test_device().is_cpu()) GTEST_SKIP() << "work of the CPU is not counted";
  auto* const stream = static_cast<cudaStream_t>(std::get<Cuda>(exec_of(test_device())).stream);
  const auto pieces_of_work = [&](const Tensor& w1, const Tensor& w2) {
    const int64_t before = simt::moment_of(stream).count;
    ops::joint_linear(x_.to(test_device()), w1, w2);
    return simt::moment_of(stream).count - before;
  };
  const Tensor w = w_.to(test_device());
  const Tensor w1 = w.slice(0, 0, 4), w2 = w.slice(0, 4, 7);
  const int64_t joint = pieces_of_work(w1, w2);
  EXPECT_EQ(joint, pieces_of_work(w1, w2.contiguous_copy()) - 1);
}
#endif

// In an arena, w2 lies before w1: the gradients of both come from one product, over several micro-steps too, or from
// two where one of the weights is used elsewhere or frozen.
class JointLinearArena : public testing::TestWithParam<std::tuple<bool, bool, bool>> {};

TEST_P(JointLinearArena, GradientsOfAWindow) {
  const auto [swapped, used_elsewhere, frozen] = GetParam();
  TwoParameters model({4, 5}, {4, 5});
  if (frozen) model.first.set_trainable(false);
  const ParameterArena arena(model, {.seed = 3, .dtype = DType::f64});
  const Parameter &first = swapped ? model.second : model.first, &second = swapped ? model.first : model.second;
  std::array<std::vector<double>, 2> sums{std::vector<double>(20), std::vector<double>(20)};
  arena.gradients().fill(NAN);
  arena.begin_window();
  for (uint64_t micro_step = 0; micro_step < 2; ++micro_step) {
    const Tensor x = uniform({2, 3, 5}, 10 + micro_step), dy = uniform({2, 3, 8}, 20 + micro_step);
    const Pass pass = Pass::recording({});
    const Variable in = pass.input(x);
    const Variable joint = ops::joint_linear(in, first, second);
    const Variable alone =
        used_elsewhere ? ops::linear(in, model.second) : Variable(Tensor::zeros({2, 3, 4}, DType::f64));
    const Variable parts[] = {joint, alone};
    backward(ops::concat(parts, -1), [&] {
      const Tensor seed = Tensor::zeros({2, 3, 12}, DType::f64);
      seed.slice(-1, 0, 8).copy_from(dy);
      seed.slice(-1, 8, 12).copy_from(dy.slice(-1, 0, 4));
      return seed;
    }());
    const auto product = [&](std::vector<double>& sum, const Tensor& gradient) {
      const std::vector<double> g = doubles(gradient), rows = doubles(x);
      for (int64_t r = 0; r < 6; ++r)
        for (int64_t n = 0; n < 4; ++n)
          for (int64_t c = 0; c < 5; ++c) sum[n * 5 + c] += g[r * 4 + n] * rows[r * 5 + c];
    };
    product(sums[swapped ? 1 : 0], dy.slice(-1, 0, 4));
    product(sums[swapped ? 0 : 1], dy.slice(-1, 4, 8));
    if (used_elsewhere) product(sums[1], dy.slice(-1, 0, 4));
  }
  arena.finish_window();
  if (!frozen) {
    EXPECT_LE(distance(doubles(model.first.gradient()), sums[0]), 1e-12);
  }
  EXPECT_LE(distance(doubles(model.second.gradient()), sums[1]), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(All, JointLinearArena, testing::Combine(testing::Bool(), testing::Bool(), testing::Bool()));

}  // namespace
}  // namespace tessera
