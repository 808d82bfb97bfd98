#include "framework/amp/grad_scaler.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/io/safetensors.h"
#include "framework/ops.h"

namespace tessera {
namespace {

using testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Model {
  Parameter weight{{4}, Init::ones()};

  template <class Each>
  void visit(Each&& each) {
    each("weight", weight);
  }
};

// A model, its arena and its optimizer, whose gradient a test sets directly.
struct Fixture {
  Model model;
  ParameterArena arena{model, {}};
  Optimizer optimizer{arena, AdamW::Options{}, {.schedule = {.learning_rate = 0.1}}};

  void set_gradient(float value) {
    arena.begin_window();
    model.weight.gradient().fill(value);
    model.weight.state()->gradient_written = true;
  }
  std::vector<float> bits() const {
    std::vector<float> all = arena.weights().to_vector<float>();
    for (const auto& [name, buffer] : optimizer.state_buffers()) {
      const std::vector<float> more = buffer.to_vector<float>();
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }
};

// One update with a finite or a non-finite gradient.
void update(GradScaler& scaler, Fixture& fixture, bool finite) {
  fixture.set_gradient(finite ? scaler.scale_value() : kInfinity);
  EXPECT_EQ(scaler.step(fixture.optimizer), finite);
  scaler.update();
}

struct Transition {
  const char* what;
  float scale;
  int tracker;
  bool finite;
  float scale_after;
  int tracker_after;
};

TEST(GradScaler, FollowsTheTableOfTransitions) {
  const float largest = std::numeric_limits<float>::max();
  const Transition table[] = {
      {"a good update counts", 8, 0, true, 8, 1},
      {"one before the boundary", 8, 1, true, 8, 2},
      {"the boundary doubles", 8, 2, true, 16, 0},
      {"an overflow halves and starts again", 8, 2, false, 4, 0},
      {"an overflow at tracker 0", 8, 0, false, 4, 0},
      {"growth stops before infinity", largest, 2, true, largest, 0},
      {"an overflow at the largest scale halves it", largest, 1, false, largest / 2, 0},
      {"it may fall below 1", 1, 0, false, 0.5f, 0},
  };
  for (const Transition& row : table) {
    SCOPED_TRACE(row.what);
    Fixture fixture;
    GradScaler scaler({.growth_interval = 3});
    scaler.load_state({.scale = row.scale, .growth_tracker = row.tracker});
    fixture.set_gradient(row.finite ? 1.0f : kInfinity);
    scaler.step(fixture.optimizer);
    scaler.update();
    EXPECT_EQ(scaler.state().scale, row.scale_after);
    EXPECT_EQ(scaler.state().growth_tracker, row.tracker_after);
  }
}

TEST(GradScaler, BoundsAndHysteresis) {
  Fixture fixture;
  GradScaler scaler({.init_scale = 8, .growth_interval = 1, .min_scale = 2, .max_scale = 16, .hysteresis = 2});
  update(scaler, fixture, true);
  update(scaler, fixture, true);
  EXPECT_EQ(scaler.scale_value(), 16);
  update(scaler, fixture, false);
  EXPECT_EQ(scaler.scale_value(), 16);  // the first of two
  update(scaler, fixture, false);
  EXPECT_EQ(scaler.scale_value(), 8);
  for (int i = 0; i < 10; ++i) update(scaler, fixture, false);
  EXPECT_EQ(scaler.scale_value(), 2);
}

TEST(GradScaler, AGoodStepStartsTheHysteresisAgain) {
  Fixture fixture;
  GradScaler scaler({.init_scale = 8, .hysteresis = 2});
  for (const bool finite : {false, true, false, true, false}) update(scaler, fixture, finite);
  EXPECT_EQ(scaler.scale_value(), 8);
  update(scaler, fixture, false);
  EXPECT_EQ(scaler.scale_value(), 4);
}

TEST(GradScaler, AStateGoesOnWhereItWasSaved) {
  const GradScaler::Options options{.init_scale = 8, .growth_interval = 3, .hysteresis = 2};
  Fixture fixture;
  GradScaler straight(options);
  for (const bool finite : {true, true, false}) update(straight, fixture, finite);
  GradScaler resumed(options);
  resumed.load_state(straight.state());
  EXPECT_EQ(resumed.state().hysteresis_left, 1);
  EXPECT_EQ(resumed.state().consecutive_skips, 1);
  for (const bool finite : {false, true, true, true, true, false}) {
    update(straight, fixture, finite);
    update(resumed, fixture, finite);
    EXPECT_EQ(resumed.scale_value(), straight.scale_value());
    EXPECT_EQ(resumed.state().growth_tracker, straight.state().growth_tracker);
    EXPECT_EQ(resumed.state().hysteresis_left, straight.state().hysteresis_left);
  }
}

TEST(GradScaler, AnInfInOneOfTwoOptimizersSkipsThatOneAndBacksOffForBoth) {
  Fixture good;
  Fixture bad;
  GradScaler scaler;
  good.set_gradient(1);
  bad.set_gradient(std::numeric_limits<float>::quiet_NaN());
  const std::vector<float> before = bad.bits();
  EXPECT_TRUE(scaler.step(good.optimizer));
  EXPECT_FALSE(scaler.step(bad.optimizer));
  scaler.update();
  EXPECT_EQ(scaler.scale_value(), 32768);
  EXPECT_EQ(bad.bits(), before);
  EXPECT_EQ(good.optimizer.control().read().applied, 1);
  EXPECT_EQ(bad.optimizer.control().read().applied, 0);
  EXPECT_EQ(bad.optimizer.control().read().iteration, 1);
}

TEST(GradScaler, TheScaleCancelsInTheUpdate) {
  Fixture plain;
  plain.set_gradient(0.25f);
  plain.optimizer.step();
  Fixture scaled;
  GradScaler scaler({.init_scale = 1024});
  scaled.set_gradient(256);
  const UnscaleReport report = scaler.unscale(scaled.optimizer);
  EXPECT_DOUBLE_EQ(report.norm, 0.5);
  EXPECT_EQ(report.scale, 1024);
  EXPECT_EQ(report.unscaled("weight").to_vector<float>(), std::vector<float>(4, 0.25f));
  EXPECT_EQ(scaled.model.weight.gradient().to_vector<float>(), std::vector<float>(4, 256.0f));
  scaler.step(scaled.optimizer);
  scaler.update();
  EXPECT_EQ(scaled.bits(), plain.bits());
}

TEST(GradScaler, LeavesNoScaleToAPlainStep) {
  for (const bool finite : {true, false}) {
    Fixture plain, scaled;
    plain.set_gradient(finite ? 1 : kInfinity);
    plain.optimizer.step();
    GradScaler scaler({.init_scale = 1024});
    update(scaler, scaled, finite);
    for (Fixture* fixture : {&plain, &scaled}) {
      fixture->set_gradient(0.25f);
      EXPECT_EQ(fixture->optimizer.step().gradient_norm, 0.5);
    }
    EXPECT_EQ(scaled.bits(), plain.bits());
  }
}

std::string message_of(const std::function<void()>& misuse) {
  try {
    misuse();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was refused";
}

TEST(GradScaler, MisuseSaysWhatToChange) {
  Fixture fixture;
  GradScaler scaler;
  EXPECT_THAT(message_of([&] { scaler.update(); }), HasSubstr("before any step"));
  fixture.arena.begin_window();
  EXPECT_THAT(message_of([&] { scaler.step(fixture.optimizer); }), HasSubstr("backward(scaler.scale(loss))"));
  fixture.set_gradient(1);
  scaler.unscale(fixture.optimizer);
  EXPECT_THAT(message_of([&] { scaler.unscale(fixture.optimizer); }), HasSubstr("after the last micro-batch"));
  scaler.step(fixture.optimizer);
  EXPECT_THAT(message_of([&] { scaler.step(fixture.optimizer); }), HasSubstr("call update first"));
  EXPECT_THAT(message_of([&] { scaler.unscale(fixture.optimizer); }), HasSubstr("call update first"));
  EXPECT_THAT(message_of([] { GradScaler({.growth_factor = 1}); }), HasSubstr("growth_factor must exceed 1"));
  EXPECT_THAT(message_of([] { GradScaler({.backoff_factor = 1}); }), HasSubstr("backoff_factor"));
  Model model;
  EXPECT_THAT(message_of([&] { ParameterArena(model, {.dtype = DType::f16}); }),
              HasSubstr("for 16-bit training set the mirror"));
}

TEST(GradScaler, CollapseIsAnError) {
  Fixture fixture;
  GradScaler scaler({.max_consecutive_skips = 3});
  update(scaler, fixture, false);
  update(scaler, fixture, false);
  fixture.set_gradient(kInfinity);
  scaler.step(fixture.optimizer);
  EXPECT_THAT(message_of([&] { scaler.update(); }), HasSubstr("3 updates in a row"));
}

TEST(GradScaler, OffMeansAScaleOfOne) {
  Fixture fixture;
  GradScaler scaler({.enabled = false});
  for (int i = 0; i < 3; ++i) update(scaler, fixture, i != 1);
  EXPECT_EQ(scaler.scale_value(), 1);
}

TEST(GradScaler, ScalesTheLossAndItsGradient) {
  GradScaler scaler({.init_scale = 4});
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(Tensor::full({1}, 3, DType::f32));
  const Variable loss = scaler.scale(x);
  EXPECT_EQ(loss.value().item(), 12);
  backward(loss);
  EXPECT_EQ(x.gradient().item(), 4);
}

// tests/golden/make_grad_scaler.py drove PyTorch's own scaler through these sequences.
TEST(GradScalerGolden, EqualsPyTorchAtEveryStepOfTenThousandSequences) {
  const SafetensorsFile golden = SafetensorsFile::open(TESSERA_SOURCE_DIR "/tests/golden/grad_scaler.safetensors");
  const auto bytes = [&](const char* name) {
    return reinterpret_cast<const uint8_t*>(golden.find(name)->bytes.data());
  };
  const int64_t sequences = golden.find("finite")->shape[0];
  const int64_t steps = golden.find("finite")->shape[1];
  ASSERT_EQ(sequences, 10000);
  Fixture fixture;
  for (int64_t i = 0; i < sequences; ++i) {
    int32_t start = 0;
    std::memcpy(&start, bytes("start") + 4 * i, 4);
    GradScaler scaler({.init_scale = std::ldexp(1.0f, start),
                       .growth_interval = bytes("growth_interval")[i],
                       .max_consecutive_skips = 0});
    for (int64_t step = i * steps; step < (i + 1) * steps; ++step) {
      fixture.set_gradient(bytes("finite")[step] != 0 ? 1.0f : kInfinity);
      scaler.step(fixture.optimizer);
      scaler.update();
      ASSERT_EQ(scaler.scale_value(), std::ldexp(1.0f, bytes("exponent")[step] - 128)) << "step " << step;
      ASSERT_EQ(scaler.state().growth_tracker, bytes("tracker")[step]) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace tessera
