#include "framework/optim/optimizer.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

struct Model {
  Parameter matrix{{2, 2}, Init::ones()};
  Parameter vector{{2}, Init::ones()};

  template <class Each>
  void visit(Each&& each) {
    each("matrix", matrix);
    each("vector", vector);
  }
};

struct Fixture {
  explicit Fixture(const StepPolicy& policy) : optimizer(arena, AdamW::Options{.weight_decay = 0.5}, policy) {}
  Model model;
  ParameterArena arena{model, {.mirror = DType::bf16}};
  Optimizer optimizer;

  StepState step(float gradient) {
    arena.begin_window();
    for (const ParameterArena::Entry& entry : arena.entries()) {
      entry.parameter->gradient.fill(gradient);
      entry.parameter->gradient_written = true;
    }
    return optimizer.step();
  }
  std::vector<float> weights() const { return arena.weights().to_vector<float>(); }
};

TEST(Optimizer, DecaysMatricesOnlyAndKeepsTheMirror) {
  Fixture fixture({.schedule = {.learning_rate = 0.1}});
  fixture.step(0);
  EXPECT_FLOAT_EQ(fixture.model.matrix.value().to_vector<float>()[0], 0.95f);
  EXPECT_FLOAT_EQ(fixture.model.vector.value().to_vector<float>()[0], 1.0f);
  EXPECT_EQ(fixture.arena.mirror().to_vector<BFloat16>()[0].bits, BFloat16(0.95f).bits);
}

TEST(Optimizer, ClipsByTheNormOfTheWholeGradient) {
  Fixture fixture({.schedule = {.learning_rate = 0.1}, .grad_clip = 1});
  const StepState state = fixture.step(2);
  EXPECT_NEAR(state.gradient_norm, 2 * std::sqrt(6.0), 1e-6);
  EXPECT_NEAR(state.gradient_factor, 1 / (2 * std::sqrt(6.0)), 1e-6);
  EXPECT_EQ(fixture.step(0.01f).gradient_factor, 1);
}

// What one rank of ZeRO keeps: the masters of its elements. It gets the same weights there, and touches no others.
TEST(Optimizer, UpdatesTheMastersThatAreLeft) {
  const StepPolicy policy{.schedule = {.learning_rate = 0.1}};
  for (const bool momentum : {false, true}) {
    Model whole_model, part_model;
    const ParameterArena whole(whole_model, {.mirror = DType::bf16});
    ParameterArena part(part_model, {.mirror = DType::bf16});
    // The matrix but for its first element, and the first element of the vector.
    const std::vector<ArenaRange> owned{{1, 4}, {whole.entries()[1].begin, whole.entries()[1].begin + 1}};
    part.keep_masters(owned);
    const auto trained = [&](const ParameterArena& arena, const std::vector<ArenaRange>& ranges) {
      const auto step = [&](const Optimizer& optimizer) {
        for (int i = 0; i < 3; ++i) {
          arena.begin_window();
          arena.gradients().fill(0.01);
          for (const auto& entry : arena.entries()) entry.parameter->gradient_written = true;
          optimizer.step();
        }
      };
      if (momentum) step({arena, Sgd::Options{.momentum = 0.9, .weight_decay = 0.5}, policy, {}, ranges});
      else step({arena, AdamW::Options{.weight_decay = 0.5}, policy, {}, ranges});
    };
    trained(whole, {});
    trained(part, owned);
    const std::vector<float> expected = whole.weights().to_vector<float>();
    const std::vector<float> masters = part.masters().to_vector<float>();
    const auto vector = static_cast<size_t>(whole.entries()[1].begin);
    EXPECT_EQ(masters, (std::vector<float>{expected[1], expected[2], expected[3], expected[vector]}));
    const std::vector<BFloat16> copies = part.weights().to_vector<BFloat16>();
    const std::vector<BFloat16> mirror = whole.mirror().to_vector<BFloat16>();
    for (const size_t i : {size_t{1}, size_t{2}, size_t{3}, vector}) EXPECT_EQ(copies[i].bits, mirror[i].bits) << i;
    for (const size_t i : {size_t{0}, vector + 1}) EXPECT_EQ(static_cast<float>(copies[i]), 1) << i;
  }
}

// A bad step in any precision: nothing moves but the iteration, and the next good step is the one that would have been.
TEST(Optimizer, ANonFiniteStepIsANoOp) {
  const StepPolicy policy{.schedule = {.kind = Schedule::Kind::cosine, .learning_rate = 0.1, .decay_iters = 10}};
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Fixture straight(policy);
    Fixture disturbed(policy);
    straight.step(0.5f);
    disturbed.step(0.5f);
    const std::vector<float> before = disturbed.weights();
    const StepState skipped = disturbed.step(bad);
    EXPECT_EQ(disturbed.weights(), before);
    EXPECT_EQ(skipped.apply, 0);
    EXPECT_EQ(skipped.iteration, 2);
    EXPECT_EQ(skipped.applied, 1);
    EXPECT_EQ(skipped.consecutive_skips, 1);
    EXPECT_EQ(disturbed.step(0.25f).learning_rate, straight.step(0.25f).learning_rate);
    EXPECT_EQ(disturbed.weights(), straight.weights());
    for (const auto& [name, buffer] : disturbed.optimizer.state_buffers()) {
      EXPECT_EQ(buffer.to_vector<float>(), straight.optimizer.state_buffers().at(name).to_vector<float>());
    }
  }
}

// What was enqueued behind a skipped step leaves everything as it is until somebody has looked.
TEST(Optimizer, StepsBehindASkippedOneAreVoid) {
  const StepPolicy policy{.schedule = {.learning_rate = 0.1}, .hold_after_skip = true};
  Fixture straight(policy);
  Fixture held(policy);
  straight.step(0.5f);
  held.step(0.5f);
  const std::vector<float> before = held.weights();
  const StepState skipped = held.step(std::numeric_limits<float>::infinity());
  const StepState behind = held.step(0.25f);
  EXPECT_EQ(held.weights(), before);
  EXPECT_EQ(behind.iteration, skipped.iteration);
  EXPECT_EQ(behind.applied, skipped.applied);
  EXPECT_EQ(behind.apply, 0);
  held.optimizer.control().clear_hold();
  EXPECT_EQ(held.step(0.25f).iteration, 3);
  straight.step(0.25f);
  EXPECT_EQ(held.weights(), straight.weights());
}

TEST(Optimizer, AddsUpTheLossWhereTheStateIs) {
  Fixture fixture({});
  const StepControl& control = fixture.optimizer.control();
  for (int step = 0; step < 2; ++step) {
    control.begin_step();
    control.add_loss(Tensor::full({}, 0.25, DType::f32));
    control.add_loss(Tensor::full({}, 1.0 / 3, DType::f64));
    EXPECT_EQ(control.read().loss, 0.25 + 1.0 / 3);
  }
}

// Each of these would train, to nothing.
TEST(Optimizer, NumbersOutOfRangeAreNamed) {
  Model model;
  const ParameterArena arena(model, {});
  const auto refused = [&](const auto& rule, const StepPolicy& policy, const std::string& message) {
    EXPECT_THAT(message_of([&] { Optimizer(arena, rule, policy); }), testing::HasSubstr(message));
  };
  using Kind = Schedule::Kind;
  const AdamW::Options adamw;
  for (const Kind kind : {Kind::linear, Kind::cosine}) {
    refused(adamw, {.schedule = {.kind = kind}},
            "needs decay_iters, the step at which it reaches min_lr, above 0, not 0");
  }
  refused(adamw, {.schedule = {.learning_rate = -0.5}}, "learning_rate and min_lr must be 0 or more, not -0.5 and 0");
  refused(adamw, {.schedule = {.min_lr = -0.5}}, "must be 0 or more, not 0.001 and -0.5");
  refused(adamw, {.schedule = {.learning_rate = NAN}}, "learning_rate and min_lr must be 0 or more, not nan");
  refused(adamw, {.schedule = {.warmup_iters = -1}}, "warmup_iters must be 0 or more, not -1");
  refused(adamw, {.grad_clip = -1}, "grad_clip must be above 0, or 0 for no clipping, not -1");
  refused(AdamW::Options{.beta1 = 1}, {}, "AdamW: the betas must lie in [0, 1), not 1 and 0.999");
  refused(AdamW::Options{.epsilon = -1}, {}, "AdamW: epsilon must be above 0, not -1");
  refused(AdamW::Options{.weight_decay = -0.1}, {}, "AdamW: weight_decay must be 0 or more, not -0.1");
  refused(Sgd::Options{.momentum = -0.1}, {}, "Sgd: momentum must lie in [0, 1), not -0.1");
  refused(Sgd::Options{.momentum = 1}, {}, "Sgd: momentum must lie in [0, 1), not 1");
  refused(Sgd::Options{.weight_decay = -0.1}, {}, "Sgd: weight_decay must be 0 or more, not -0.1");
  EXPECT_THAT(message_of([] { StepControl({}, {.beta2 = 1}); }),
              testing::HasSubstr("the betas must lie in [0, 1), not 0"));
  const Optimizer least(arena, Sgd::Options{}, {.schedule = {.learning_rate = 0}});  // 0 is not out of range
}

TEST(Schedule, WarmsUpThenFallsToMinLr) {
  Schedule schedule{
      .kind = Schedule::Kind::cosine, .learning_rate = 1, .min_lr = 0.1, .warmup_iters = 3, .decay_iters = 13};
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 0), 0.25);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 2), 0.75);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 3), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 8), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 13), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1000), 0.1);
  schedule.kind = Schedule::Kind::linear;
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 8), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 4), 0.91);
  schedule.kind = Schedule::Kind::constant;
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1000), 1);
}

}  // namespace
}  // namespace tessera
