#include "trainers/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/toy_config.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A folder with a text that a small model learns quickly.
class TrainerTest : public testing::Test {
 protected:
  TrainerTest() : folder_(fs::temp_directory_path() / ("tessera-trainer-test-" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
    write_toy_text(folder_, "the quick brown fox jumps over the lazy dog", 400);
  }
  ~TrainerTest() override { fs::remove_all(folder_); }

  Config config() const {
    Config config = toy_config(folder_);
    config.block_size = 32;
    config.batch_size = 4;
    config.gradient_accumulation_steps = 2;
    config.max_iters = 40;
    config.learning_rate = 3e-3;
    config.eval_iters = 4;
    return config;
  }

  fs::path folder_;
};

std::vector<double> losses(Trainer& trainer, int steps) {
  std::vector<double> all;
  for (int i = 0; i < steps; ++i) all.push_back(trainer.step().train_loss);
  return all;
}

std::vector<float> bits(const Trainer& trainer) {
  std::vector<float> all = trainer.arena().weights().to_vector<float>();
  for (const auto& [name, buffer] : trainer.optimizer_buffers()) {
    for (const float value : buffer.to_vector<float>()) all.push_back(value);
  }
  return all;
}

TEST_F(TrainerTest, LearnsInEveryPrecision) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    SCOPED_TRACE(name_of(dtype));
    Config settings = config();
    settings.dtype = dtype;
    settings.max_iters = 100;
    Trainer trainer(settings);
    StepReport first;
    StepReport last;
    trainer.evaluate(first);
    losses(trainer, 100);
    trainer.evaluate(last);
    EXPECT_GT(*first.val_loss, 3);
    EXPECT_LT(*last.val_loss, 1.5);
  }
}

TEST_F(TrainerTest, LossesIn16BitStayNearThoseInFloat32) {
  Config settings = config();
  Trainer reference(settings);
  const std::vector<double> expected = losses(reference, 30);
  for (const DType dtype : {DType::bf16, DType::f16}) {
    settings.dtype = dtype;
    Trainer trainer(settings);
    const std::vector<double> got = losses(trainer, 30);
    EXPECT_NEAR(got.back(), expected.back(), 0.02) << name_of(dtype);
    EXPECT_EQ(trainer.state().applied, 30);
  }
}

// The scale doubles after four good steps here, so the save falls into a growth interval.
TEST_F(TrainerTest, ResumesBitForBitInEveryPrecision) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    SCOPED_TRACE(name_of(dtype));
    Config settings = config();
    settings.dtype = dtype;
    settings.growth_interval = 4;
    settings.init_scale = 1024;
    const CheckpointStore store(folder_ / std::string(name_of(dtype)), 0);
    Trainer straight(settings);
    losses(straight, 5);
    EXPECT_EQ(straight.state().growth_tracker, dtype == DType::f16 ? 1 : 0);
    straight.save(store);
    const std::vector<double> expected = losses(straight, 5);
    Trainer resumed(settings);
    EXPECT_THAT(resumed.load(*store.latest()), IsEmpty());
    EXPECT_EQ(losses(resumed, 5), expected);
    EXPECT_EQ(bits(resumed), bits(straight));
    EXPECT_EQ(resumed.state().growth_tracker, straight.state().growth_tracker);
    EXPECT_EQ(resumed.state().scale, straight.state().scale);
    EXPECT_EQ(straight.state().scale, dtype == DType::f16 ? 4096 : 1);
  }
}

TEST_F(TrainerTest, ACheckpointGoesOnInAnotherPrecisionWithANotice) {
  const CheckpointStore store(folder_ / "run", 0);
  Trainer first(config());
  losses(first, 3);
  first.save(store);
  Config settings = config();
  settings.dtype = DType::bf16;
  Trainer second(settings);
  EXPECT_THAT(second.load(*store.latest()), ElementsAre(HasSubstr("trained in float32; going on in bfloat16")));
  EXPECT_EQ(second.step().step, 4);
}

TEST_F(TrainerTest, TheLossScaleStartsAnewWhereThePrecisionOrItsRuleChanges) {
  const CheckpointStore store(folder_ / "run", 0);
  Config settings = config();
  Trainer(settings).save(store);
  settings.dtype = DType::f16;
  settings.hysteresis = 3;
  Trainer half(settings);
  EXPECT_THAT(half.load(*store.latest()),
              ElementsAre(HasSubstr("going on in float16"), HasSubstr("the loss scale starts anew at 65536")));
  EXPECT_EQ(half.state().scale, 65536);
  EXPECT_EQ(half.state().hysteresis_left, 3);
  half.save(store);
  settings.loss_scale = "128";
  Trainer fixed(settings);
  EXPECT_THAT(fixed.load(*store.latest()), ElementsAre(HasSubstr("the loss scale starts anew at 128")));
  settings.dtype = DType::f32;
  settings.loss_scale = "dynamic";
  Trainer single(settings);
  single.load(*store.latest());
  EXPECT_EQ(single.state().scale, 1);
}

// A scale that overflows everything: the scaler looks for its value, one report a step.
TEST_F(TrainerTest, AReportSaysThatAStepWasSkippedAndWhy) {
  Config settings = config();
  settings.dtype = DType::f16;
  settings.init_scale = 0x1p30;
  settings.hysteresis = 2;
  settings.grad_clip = 0.01;
  Trainer trainer(settings);
  const std::vector<float> before = bits(trainer);
  const double scales[] = {0x1p30, 0x1p30, 0x1p29};
  for (int64_t step = 1; step <= 3; ++step) {
    const StepReport report = trainer.step();
    EXPECT_EQ(report.skipped_because, kLossScaleTooLarge);
    EXPECT_EQ(report.scale, scales[step - 1]);
    EXPECT_EQ(report.skipped, step);
    EXPECT_EQ(report.step, step);
    EXPECT_EQ(report.applied, 0);
    EXPECT_FALSE(std::isfinite(report.grad_norm));
  }
  EXPECT_EQ(bits(trainer), before);
  StepReport good;
  for (int i = 0; i < 60 && good.applied == 0; ++i) good = trainer.step();
  EXPECT_EQ(good.skipped_because, std::nullopt);
  EXPECT_EQ(good.applied, 1);
  EXPECT_EQ(good.growth_tracker, 1);
  EXPECT_GT(good.grad_norm, 0.1);
  EXPECT_EQ(good.grad_norm_clipped, 0.01);
}

TEST_F(TrainerTest, WhatNoLossScaleCuresIsSaidToBeSo) {
  Config settings = config();
  settings.learning_rate = 1e30;
  settings.grad_clip = 0;
  Trainer trainer(settings);
  trainer.step();
  const StepReport report = trainer.step();
  EXPECT_EQ(report.skipped_because, kLossNotFinite);
  EXPECT_EQ(report.scale, 1);
}

TEST_F(TrainerTest, BFloat16WeightsWithoutMastersLearnAndResume) {
  Config settings = config();
  settings.dtype = DType::bf16;
  settings.max_iters = 100;
  Trainer with_masters(settings);
  const std::vector<double> expected = losses(with_masters, 100);
  settings.master_weights = false;
  Trainer straight(settings);
  EXPECT_EQ(straight.arena().weights().dtype(), DType::bf16);
  EXPECT_FALSE(straight.arena().mirror().defined());
  const std::vector<double> first = losses(straight, 50);
  EXPECT_NEAR(first[0], expected[0], 0.02);
  const CheckpointStore store(folder_ / "run", 0);
  straight.save(store);
  const std::vector<double> rest = losses(straight, 50);
  EXPECT_NEAR(rest.back(), expected.back(), 0.1);
  Trainer resumed(settings);
  EXPECT_THAT(resumed.load(*store.latest()), IsEmpty());
  EXPECT_EQ(losses(resumed, 50), rest);
  settings.master_weights = true;
  Trainer widened(settings);
  widened.load(*store.latest());
  EXPECT_NEAR(losses(widened, 1)[0], rest[0], 0.02);
}

TEST_F(TrainerTest, ACheckpointOfAnotherArchitectureIsRefusedBeforeAnythingChanges) {
  const CheckpointStore store(folder_ / "run", 0);
  Trainer small(config());
  small.save(store);
  const std::vector<std::function<void(Config&)>> variants = {
      [](Config& other) { other.n_embd = 64; },
      [](Config& other) { other.n_layer = 3; },
      [](Config& other) { other.n_layer = 1; },
      // Of these the weights' shapes know nothing.
      [](Config& other) { other.n_head = 4; },
      [](Config& other) { other.norm = Norm::Kind::rms; },
      [](Config& other) { other.activation = FeedForward::Kind::gelu_tanh; },
      [](Config& other) { other.window = 3; },
      [](Config& other) { other.softcap = 1; },
  };
  for (const auto& change : variants) {
    Config settings = config();
    change(settings);
    Trainer other(settings);
    const std::vector<float> before = bits(other);
    try {
      other.load(*store.latest());
      FAIL();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("as it was, or train a new model in another out_dir"));
    }
    EXPECT_EQ(bits(other), before);
  }
}

TEST_F(TrainerTest, AccumulationEqualsALargeBatch) {
  Config settings = config();
  settings.dropout = 0;
  Trainer accumulated(settings);
  settings.batch_size = 8;
  settings.gradient_accumulation_steps = 1;
  Trainer whole(settings);
  const std::vector<double> a = losses(accumulated, 5);
  const std::vector<double> b = losses(whole, 5);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4);
}

TEST_F(TrainerTest, RecomputeChangesNoBit) {
  Config settings = config();
  Trainer plain(settings);
  settings.recompute = true;
  Trainer recomputing(settings);
  EXPECT_EQ(losses(plain, 5), losses(recomputing, 5));
  EXPECT_EQ(bits(plain), bits(recomputing));
}

TEST_F(TrainerTest, AnotherOptimizerOrOrderOfTheDataIsSaid) {
  const CheckpointStore store(folder_ / "run", 0);
  Trainer(config()).save(store);
  Config settings = config();
  settings.optimizer = Config::Optimizer::sgd;
  try {
    Trainer(settings).load(*store.latest());
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("its training has optimizer = adamw, this config says sgd; leave optimizer as"));
  }
  settings = config();
  settings.batch_size = 8;
  settings.gradient_accumulation_steps = 1;
  EXPECT_THAT(Trainer(settings).load(*store.latest()), IsEmpty());  // the same rows in one pass
  settings.seed = 4;
  EXPECT_THAT(Trainer(settings).load(*store.latest()),
              ElementsAre(HasSubstr("was trained with seed = 1337, block_size = 32, batch_size * "
                                    "gradient_accumulation_steps = 8; going on with seed = 4, ")));
}

TEST_F(TrainerTest, CheckpointsAreKeptPrunedAndLinked) {
  const fs::path run = folder_ / "run";
  const CheckpointStore store(run, 2);
  Trainer trainer(config());
  for (int i = 0; i < 4; ++i) {
    trainer.step();
    trainer.save(store);
  }
  EXPECT_FALSE(fs::exists(run / "step_00000002"));
  EXPECT_TRUE(fs::exists(run / "step_00000003" / "COMPLETE"));
  EXPECT_EQ(fs::read_symlink(run / "latest"), "step_00000004");
  fs::remove(run / "step_00000004" / "COMPLETE");
  EXPECT_EQ(store.latest()->filename(), "step_00000003");
}

}  // namespace
}  // namespace tessera
