#include "kernels/adamw/adamw.h"

#include <gtest/gtest.h>

#include "kernels/common/stochastic_rounding.h"
#include "tests/kernels/array.h"

namespace tessera {
namespace {

constexpr double kDecay = 0.1, kBeta1 = 0.9, kBeta2 = 0.99, kEpsilon = 1e-8;

/// One parameter range with its optimizer state, and the same in double as the paper writes it.
struct Model {
  Array weight, moment1, moment2, mirror;
  std::vector<double> w, m, v;
  StepState state;

  Model(DType dtype, DType mirror_dtype, int64_t n)
      : weight(Array::random(dtype, {n}, 1)),
        moment1(dtype, {n}),
        moment2(dtype, {n}),
        mirror(mirror_dtype, {n}),
        w(weight.values()),
        m(n),
        v(n) {}

  void step(const Array& gradient, bool with_mirror) {
    run_on_test_device(AdamWStep{.weight = weight.out<1>(),
                                 .moment1 = moment1.out<1>(),
                                 .moment2 = moment2.out<1>(),
                                 .gradient = gradient.in<1>(),
                                 .mirror = with_mirror ? mirror.out<1>() : Out<1>{},
                                 .state = Managed(state).get(),
                                 .weight_decay = kDecay,
                                 .beta1 = kBeta1,
                                 .beta2 = kBeta2,
                                 .epsilon = kEpsilon});
  }

  void reference_step(const Array& gradient) {
    for (size_t i = 0; i < w.size(); ++i) {
      const double g = state.gradient_factor * gradient[i];
      w[i] -= state.learning_rate * kDecay * w[i];
      m[i] = kBeta1 * m[i] + (1 - kBeta1) * g;
      v[i] = kBeta2 * v[i] + (1 - kBeta2) * g * g;
      w[i] -= state.learning_rate * (m[i] / (1 - state.beta1_power)) /
              (std::sqrt(v[i] / (1 - state.beta2_power)) + kEpsilon);
    }
  }

  void advance(int applied) {
    state.applied = applied;
    state.learning_rate = 1e-2f / applied;
    state.gradient_factor = 0.5f;
    state.beta1_power = std::pow(kBeta1, applied);
    state.beta2_power = std::pow(kBeta2, applied);
  }
};

TEST(AdamW, FollowsTheDoubleReferenceOverSteps) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const int64_t n : {1, 17, 1025, 40001}) {
      Model model(dtype, DType::bf16, n);
      for (int applied = 1; applied <= 6; ++applied) {
        model.advance(applied);
        const Array gradient = Array::random(dtype, {n}, 10 + applied);
        model.step(gradient, false);
        model.reference_step(gradient);
      }
      SCOPED_TRACE(to_string(dtype));
      const double unit = rounding_unit(dtype);
      expect_close(model.moment1, model.m, 0, 8 * unit);
      expect_close(model.moment2, model.v, 8 * unit, 0);
      expect_close(model.weight, model.w, 0, 16 * unit);
    }
  }
}

TEST(AdamW, RefreshesTheMirrorFromTheNewWeights) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const DType mirror : {DType::bf16, DType::f16}) {
      Model model(dtype, mirror, 2077);
      model.advance(1);
      model.step(Array::random(dtype, {2077}, 3), true);
      const Array rounded = Array::of(mirror, {2077}, model.weight.values());
      EXPECT_TRUE(model.mirror.bytes() == rounded.bytes()) << to_string(mirror);
    }
  }
}

TEST(StochasticRounding, TakesANeighbourWithTheRightProbability) {
  const float spacing = 0x1p-7f;  // of bfloat16 between 1 and 2
  for (const float sign : {1.0f, -1.0f}) {
    const float value = sign * (1 + 0.3125f * spacing);
    int64_t up = 0;
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const float rounded = round_stochastically(value, bits);
      EXPECT_TRUE(rounded == sign || rounded == sign * (1 + spacing));
      up += rounded != sign;
    }
    EXPECT_EQ(up, static_cast<int64_t>(0.3125 * 0x10000));
  }
  EXPECT_EQ(round_stochastically(1.5f, 0xffff), 1.5f);
  EXPECT_EQ(round_stochastically(INFINITY, 0xffff), INFINITY);
  EXPECT_TRUE(std::isnan(round_stochastically(NAN, 0xffff)));
}

// Each step moves a weight of 1 by 1/50 of what bfloat16 can represent there. Rounded to nearest it would never move.
TEST(AdamW, SmallUpdatesOfBFloat16WeightsArriveInTheMean) {
  const int64_t n = 40001;
  const double rate = 0x1p-8 / 50;  // below 1 the spacing is 2^-8
  Array weight = Array::of(DType::bf16, {n}, std::vector<double>(n, 1.0));
  Array moment1(DType::f32, {n}), moment2(DType::f32, {n});
  const Array gradient = Array::of(DType::f32, {n}, std::vector<double>(n, 1.0));
  StepState state;
  for (int64_t step = 1; step <= 20; ++step) {
    state.iteration = step;
    state.learning_rate = rate;
    state.beta1_power = std::pow(kBeta1, step);
    state.beta2_power = std::pow(kBeta2, step);
    run_on_test_device(AdamWStep{.weight = weight.out<1>(),
                                 .moment1 = moment1.out<1>(),
                                 .moment2 = moment2.out<1>(),
                                 .gradient = gradient.in<1>(),
                                 .mirror = {},
                                 .state = Managed(state).get(),
                                 .weight_decay = 0,
                                 .beta1 = kBeta1,
                                 .beta2 = kBeta2,
                                 .epsilon = kEpsilon,
                                 .rounding_key = 7});
  }
  double sum = 0;
  for (const double value : weight.values()) sum += value;
  // A weight takes 20 steps of mean 2^-8/50 and variance (2^-8)²·(1/50)(49/50).
  const double deviation = 0x1p-8 * std::sqrt(20 * 0.02 * 0.98 / static_cast<double>(n));
  EXPECT_NEAR(sum / static_cast<double>(n), 1 - 20 * rate, 4 * deviation);
}

// The random bits belong to (key, element, iteration): ranges and devices do not matter.
TEST(AdamW, StochasticRoundingDependsOnTheElementAlone) {
  const int64_t n = 4096, half = 2048;
  const Array gradient = Array::random(DType::f32, {n}, 3);
  const auto step = [&](Array& weight, int64_t begin, int64_t count, int64_t iteration) {
    Array moment1(DType::f32, {n}), moment2(DType::f32, {n});
    StepState state{.iteration = iteration, .learning_rate = 1e-3, .beta1_power = kBeta1, .beta2_power = kBeta2};
    const auto part = [&](auto view) {
      view.data =
          static_cast<std::byte*>(const_cast<void*>(static_cast<const void*>(view.data))) + begin * size_of(view.dtype);
      view.shape[0] = count;
      return view;
    };
    run_on_test_device(AdamWStep{.weight = part(weight.out<1>()),
                                 .moment1 = part(moment1.out<1>()),
                                 .moment2 = part(moment2.out<1>()),
                                 .gradient = part(gradient.in<1>()),
                                 .mirror = {},
                                 .state = Managed(state).get(),
                                 .weight_decay = 0,
                                 .beta1 = kBeta1,
                                 .beta2 = kBeta2,
                                 .epsilon = kEpsilon,
                                 .rounding_key = 7,
                                 .first = begin});
  };
  const Array start = Array::random(DType::bf16, {n}, 1);
  Array whole = start, parts = start, later = start;
  step(whole, 0, n, 1);
  step(parts, 0, half, 1);
  step(parts, half, half, 1);
  step(later, 0, n, 2);
  EXPECT_TRUE(whole.bytes() == parts.bytes());
  EXPECT_FALSE(whole.bytes() == later.bytes());
}

TEST(AdamW, ASkippedStepTouchesNothing) {
  Model model(DType::f32, DType::bf16, 3001);
  model.advance(1);
  model.step(Array::random(DType::f32, {3001}, 3), true);
  const auto before = {model.weight.bytes(), model.moment1.bytes(), model.moment2.bytes(), model.mirror.bytes()};
  model.state.apply = 0;
  Array gradient = Array::random(DType::f32, {3001}, 4);
  gradient.set(7, NAN);
  model.step(gradient, true);
  const auto after = {model.weight.bytes(), model.moment1.bytes(), model.moment2.bytes(), model.mirror.bytes()};
  EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
}

TEST(AdamW, ZeroGradientsOnlyDecay) {
  Model model(DType::f32, DType::bf16, 100);
  model.advance(1);
  model.step(Array(DType::f32, {100}), false);
  for (int64_t i = 0; i < 100; ++i) EXPECT_NEAR(model.weight[i], model.w[i] * (1 - 1e-2 * kDecay), 1e-7);
}

}  // namespace
}  // namespace tessera
