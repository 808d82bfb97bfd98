// A bad number anywhere in a step, in any precision, on any device: nothing of it reaches the weights.
#include <limits>

#include <gtest/gtest.h>

#include "framework/amp/grad_scaler.h"
#include "framework/ops.h"
#include "framework/tensor/random.h"
#include "modules/linear.h"
#include "tests/support/devices.h"

namespace tessera {
namespace {

enum class Where { nowhere, activation, gradient };

struct Poison {
  Where where = Where::nowhere;
  int micro_step = 0;
  float value = std::numeric_limits<float>::quiet_NaN();
};

// The identity, with one bad element on its way forward or backward.
Variable poisoned(const Variable& x, Where where, float value) {
  const auto with_bad_element = [value](const Tensor& tensor) {
    Tensor bad = tensor.contiguous_copy();
    bad.view({-1}).slice(0, 0, 1).fill(value);
    return bad;
  };
  const Tensor y = where == Where::activation ? with_bad_element(x.value()) : x.value();
  return record(
      "poison", y,
      [=](const Tensor& dy, GradientSlot dx) { dx.add(where == Where::gradient ? with_bad_element(dy) : dy); }, x);
}

struct Model {
  Linear first{{.in = 8, .out = 16}};
  Linear second{{.in = 16, .out = 1}};

  template <class Each>
  void visit(Each&& each) {
    each("first", first);
    each("second", second);
  }
};

constexpr int kMicroSteps = 3;

struct Training {
  explicit Training(DType dtype)
      : dtype(dtype),
        arena(model, {.seed = 3,
                      .device = test_device(),
                      .mirror = is_16bit_float(dtype) ? std::optional(dtype) : std::nullopt}),
        optimizer(arena, AdamW::Options{},
                  {.schedule = {.learning_rate = 0.05}, .scaling = {.dynamic = dtype == DType::f16}, .grad_clip = 1},
                  {.scale = dtype == DType::f16 ? 1024.0f : 1.0f}) {}

  StepState step(uint64_t data, const Poison& poison = {}) {
    arena.begin_window();
    for (int i = 0; i < kMicroSteps; ++i) {
      const Pass pass = Pass::recording({});
      const Variable x = pass.input(random_normal({4, 8}, data * 10 + i).to(dtype).to(test_device()));
      Variable h = model.first(x, {.activation = Activation::gelu_tanh});
      if (poison.where != Where::nowhere && poison.micro_step == i) h = poisoned(h, poison.where, poison.value);
      const Variable y = ops::cast(model.second(h), DType::f32);
      backward(ops::mean(ops::mul(y, y)), optimizer.control().read().scale);
    }
    return optimizer.step();
  }

  std::vector<float> bits() const {
    std::vector<float> all = arena.weights().to_vector<float>();
    for (const auto& [name, buffer] : optimizer.state_buffers()) {
      for (const float value : buffer.to_vector<float>()) all.push_back(value);
    }
    return all;
  }

  DType dtype;
  Model model;
  ParameterArena arena;
  Optimizer optimizer;
};

class Skip : public testing::TestWithParam<DType> {};

TEST_P(Skip, ABadNumberChangesNothingAndTheNextStepIsTheOneThatWouldHaveBeen) {
  const float bad_values[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()};
  for (const Where where : {Where::activation, Where::gradient}) {
    for (const int micro_step : {0, kMicroSteps - 1}) {
      for (const float value : bad_values) {
        Training straight(GetParam());
        Training disturbed(GetParam());
        straight.step(1);
        disturbed.step(1);
        const std::vector<float> before = disturbed.bits();
        const StepState skipped = disturbed.step(2, {where, micro_step, value});
        ASSERT_EQ(skipped.apply, 0);
        ASSERT_EQ(disturbed.bits(), before);
        ASSERT_EQ(skipped.iteration, 2);
        ASSERT_EQ(skipped.applied, 1);
        const StepState after = disturbed.step(3, {where, micro_step, value});  // right after a skip
        ASSERT_EQ(after.consecutive_skips, 2);
        ASSERT_EQ(disturbed.bits(), before);

        // The scale is a power of two: halving it changes no bit of an update.
        disturbed.step(4);
        straight.step(4);
        ASSERT_EQ(disturbed.bits(), straight.bits());
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Skip, testing::Values(DType::f32, DType::bf16, DType::f16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

// How far the loss falls over a few steps. Its gradients of 1e-8 are zero in float16 unless the loss is scaled.
double learned(bool scaled) {
  Model model;
  const ParameterArena arena(model, {.seed = 3, .device = test_device(), .mirror = DType::f16});
  const Optimizer optimizer(arena, Sgd::Options{}, {.schedule = {.learning_rate = 1e6}});
  GradScaler scaler({.enabled = scaled});
  double first = 0;
  double last = 0;
  for (int i = 0; i < 5; ++i) {
    arena.begin_window();
    const Pass pass = Pass::recording({});
    const Variable x = pass.input(random_normal({4, 8}, 5).to(DType::f16).to(test_device()));
    const Variable y = ops::cast(model.second(model.first(x)), DType::f32);
    const Variable loss = ops::scale(ops::mean(y), 4e-8);
    backward(scaler.scale(loss));
    scaler.step(optimizer);
    scaler.update();
    last = loss.value().item();
    if (i == 0) first = last;
  }
  return (first - last) / 4e-8;
}

TEST(LossScale, RescuesGradientsThatUnderflowInFloat16) {
  EXPECT_EQ(learned(false), 0);
  EXPECT_GT(learned(true), 0.1);
}

}  // namespace
}  // namespace tessera
