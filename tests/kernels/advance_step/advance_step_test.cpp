#include "kernels/advance_step/advance_step.h"

#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "tests/support/devices.h"

namespace tessera {
namespace {

constexpr double kTiny = 1e-14;  // a GPU may fuse a multiplication with the addition behind it

/// The state after a step on the test device whose gradients add up to `scan`.
StepState advanced(const StepState& before, const ScanResult& scan, const StepPolicy& policy) {
  Managed<StepState> state(before);
  Managed<ScanResult> sums(scan);
  run_on_test_device(AdvanceStep{.scan = sums.get(), .policy = policy, .state = state.get()});
  return *state;
}

ScanResult finite(double squared_norm) { return {.squared_norm = squared_norm, .finite = 1}; }
ScanResult infinite() { return {.squared_norm = INFINITY, .finite = 0}; }

TEST(AdvanceStep, AFiniteStepIsAppliedUnscaledAndClipped) {
  const StepPolicy policy{.schedule = {.learning_rate = 0.5}, .grad_clip = 2, .beta1 = 0.9, .beta2 = 0.99};
  const StepState before{.iteration = 7, .applied = 4, .scale = 8, .consecutive_skips = 2, .apply = 0};
  const StepState after = advanced(before, finite(40.0 * 40.0), policy);
  EXPECT_EQ(after.iteration, 8);
  EXPECT_EQ(after.applied, 5);
  EXPECT_EQ(after.apply, 1);
  EXPECT_EQ(after.consecutive_skips, 0);
  EXPECT_EQ(after.gradient_norm, 5);
  EXPECT_EQ(after.learning_rate, 0.5);
  EXPECT_NEAR(after.gradient_factor, 2 / (5 + 1e-6) / 8, kTiny);
  EXPECT_EQ(after.beta1_power, 0.9);
  EXPECT_EQ(after.beta2_power, 0.99);
  EXPECT_EQ(after.scale, 8);  // the policy does not move it
}

TEST(AdvanceStep, SmallGradientsAndNoClippingOnlyUnscale) {
  const StepState before{.scale = 4};
  EXPECT_EQ(advanced(before, finite(1), {.grad_clip = 2}).gradient_factor, 0.25);
  EXPECT_EQ(advanced(before, finite(1e20), {.grad_clip = 0}).gradient_factor, 0.25);
}

TEST(AdvanceStep, ASkippedStepOnlyCountsAndHoldsTheOnesBehindIt) {
  const StepPolicy policy{.schedule = {.learning_rate = 0.5}, .beta1 = 0.9, .beta2 = 0.99, .hold_after_skip = true};
  const StepState skipped = advanced({.iteration = 7, .applied = 4}, infinite(), policy);
  EXPECT_EQ(skipped.iteration, 8);
  EXPECT_EQ(skipped.applied, 4);
  EXPECT_EQ(skipped.apply, 0);
  EXPECT_EQ(skipped.consecutive_skips, 1);
  EXPECT_EQ(skipped.beta1_power, 1);
  EXPECT_EQ(skipped.held, 1);
  const StepState behind = advanced(skipped, finite(1), policy);
  EXPECT_EQ(std::memcmp(&behind, &skipped, sizeof behind), 0);
  StepPolicy free = policy;
  free.hold_after_skip = false;
  EXPECT_EQ(advanced({}, infinite(), free).held, 0);
}

TEST(AdvanceStep, TheScaleGrowsAfterTheIntervalAndNeverBeyondItsBounds) {
  StepPolicy policy{.scaling = {.dynamic = true, .growth_interval = 3, .max_scale = 16}};
  StepState state{.scale = 4};
  std::vector<float> scales;
  for (int step = 0; step < 12; ++step) {
    state = advanced(state, finite(1), policy);
    scales.push_back(state.scale);
  }
  EXPECT_EQ(scales, (std::vector<float>{4, 4, 8, 8, 8, 16, 16, 16, 16, 16, 16, 16}));
  policy.scaling.max_scale = std::numeric_limits<float>::max();
  state = {.scale = 0x1p127f, .growth_tracker = 2};
  EXPECT_EQ(advanced(state, finite(1), policy).scale, 0x1p127f);  // twice that is infinite
}

TEST(AdvanceStep, TheScaleBacksOffAfterHysteresis) {
  const StepPolicy policy{.scaling = {.dynamic = true, .growth_interval = 2, .hysteresis = 2, .min_scale = 3}};
  StepState state{.scale = 16, .growth_tracker = 1, .hysteresis_left = 2};
  std::vector<float> scales;
  for (const bool is_finite : {false, false, false, true, false, false, false, false}) {
    state = advanced(state, is_finite ? finite(1) : infinite(), policy);
    scales.push_back(state.scale);
  }
  EXPECT_EQ(scales, (std::vector<float>{16, 8, 8, 8, 8, 4, 4, 3}));
  EXPECT_EQ(state.growth_tracker, 0);
}

TEST(AdvanceStep, TheScheduleCountsAppliedSteps) {
  Schedule schedule{.learning_rate = 1, .min_lr = 0.1, .warmup_iters = 4, .decay_iters = 14};
  const auto rate = [&](int64_t applied) {
    return advanced({.iteration = 1000, .applied = applied}, finite(1), {.schedule = schedule}).learning_rate;
  };
  for (const auto kind : {Schedule::Kind::constant, Schedule::Kind::linear, Schedule::Kind::cosine}) {
    schedule.kind = kind;
    EXPECT_NEAR(rate(0), 0.2, kTiny);
    EXPECT_NEAR(rate(3), 0.8, kTiny);
    EXPECT_NEAR(rate(4), 1, kTiny);
    const double half = kind == Schedule::Kind::constant ? 1 : 0.55;
    EXPECT_NEAR(rate(9), half, kTiny);
    EXPECT_NEAR(rate(14), kind == Schedule::Kind::constant ? 1 : 0.1, kTiny);
    EXPECT_NEAR(rate(99), kind == Schedule::Kind::constant ? 1 : 0.1, kTiny);
  }
  EXPECT_NEAR(rate(6), 0.1 + 0.9 * 0.5 * (1 + std::cos(0.2 * std::acos(-1.0))), kTiny);
  schedule.kind = Schedule::Kind::linear;
  EXPECT_NEAR(rate(6), 0.1 + 0.9 * 0.8, kTiny);
}

// Both devices run one function; this sees what the launch does to its arguments.
TEST(AdvanceStep, AgreesWithTheCpuOverManySteps) {
  const StepPolicy policy{.schedule = {Schedule::Kind::cosine, 1e-3, 1e-4, 10, 150},
                          .scaling = {.dynamic = true, .growth_interval = 5, .hysteresis = 2},
                          .grad_clip = 1,
                          .beta1 = 0.9,
                          .beta2 = 0.95};
  StepState here, there;
  std::mt19937 engine(3);
  for (int step = 0; step < 200; ++step) {
    const ScanResult scan = engine() % 7 == 0 ? infinite() : finite(static_cast<double>(engine() % 1000));
    AdvanceStep{.scan = &scan, .policy = policy, .state = &here}(Cpu{});
    there = advanced(there, scan, policy);
    ASSERT_EQ(here.applied, there.applied);
    ASSERT_EQ(here.scale, there.scale);
    ASSERT_EQ(here.growth_tracker, there.growth_tracker);
    ASSERT_NEAR(here.learning_rate, there.learning_rate, kTiny);
    ASSERT_NEAR(here.gradient_factor, there.gradient_factor, kTiny * here.gradient_factor);
    ASSERT_NEAR(here.beta2_power, there.beta2_power, kTiny);
  }
}

}  // namespace
}  // namespace tessera
