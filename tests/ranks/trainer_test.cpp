// Training over several ranks against training on one: every rank also runs the whole batch by itself, as the
// reference.
#include "trainers/trainer.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "tests/ranks/ranks_fixture.h"

namespace tessera {
namespace {

struct Bounds {
  double loss;       // relative, at every iteration
  double parameter;  // relative norm of the difference, per tensor
};

// The emulated device is slow; this is long enough for steps that are replays of a CUDA graph.
int shortened(int iterations) { return test_device().is_cpu() ? iterations : std::min(iterations, 8); }

// The same iterations on all ranks and on one.
void expect_same_training(const Config& config, int iterations, const Bounds& bounds) {
  Trainer reference(config);
  Trainer trainer(config, shared_ranks());
  for (int i = 0; i < shortened(iterations); ++i) {
    const double expected = reference.step().train_loss;
    const StepReport got = trainer.step();
    ASSERT_NEAR(got.train_loss, expected, bounds.loss * expected) << "iteration " << i;
  }
  EXPECT_EQ(trainer.state().applied, reference.state().applied);
  expect_same_parameters(trainer, reference, bounds.parameter);
}

constexpr Bounds kFloat32{.loss = 1e-6, .parameter = 1e-5};

TEST_F(RanksTest, TrainAsOneRank) { expect_same_training(config(), 30, kFloat32); }

TEST_F(RanksTest, WithAccumulation) {
  Config settings = config();
  settings.batch_size = 3;
  settings.gradient_accumulation_steps = 4;
  expect_same_training(settings, 30, kFloat32);
}

// 7 × 3 sequences over 2 or 4 ranks: shares of 11 and 10, or 6, 5, 5, 5, in passes of different sizes.
TEST_F(RanksTest, WithUnevenBatches) {
  Config settings = config();
  settings.batch_size = 3;
  settings.gradient_accumulation_steps = 7;
  expect_same_training(settings, 20, kFloat32);
}

TEST_F(RanksTest, WithShardedOptimizerState) {
  Config settings = config();
  settings.zero = 1;
  expect_same_training(settings, 30, kFloat32);
  settings.optimizer = Config::Optimizer::sgd;
  settings.learning_rate = 0.1;
  expect_same_training(settings, 30, kFloat32);
  settings.batch_size = 3;
  settings.gradient_accumulation_steps = 5;
  settings.optimizer = Config::Optimizer::adamw;
  settings.learning_rate = 1e-3;
  expect_same_training(settings, 30, kFloat32);
}

TEST_F(RanksTest, In16Bit) {
  Config settings = config();
  for (const int64_t zero : {0, 1}) {
    settings.zero = zero;
    settings.dtype = DType::f16;
    expect_same_training(settings, 30, {.loss = 5e-4, .parameter = 1e-2});
    settings.dtype = DType::bf16;
    expect_same_training(settings, 30, {.loss = 2e-3, .parameter = 3e-2});
  }
}

// With ZeRO a rank keeps the float32 masters of its part; a run of bfloat16 weights alone has none to split.
TEST_F(RanksTest, MastersAreSplit) {
  Config settings = config();
  settings.dtype = DType::bf16;
  settings.zero = 1;
  const Trainer trainer(settings, shared_ranks());
  EXPECT_EQ(trainer.arena().masters().numel() * ranks().world(), trainer.arena().size());
  EXPECT_EQ(trainer.arena().weights().dtype(), DType::bf16);
  const std::vector<float> whole = values_of(trainer.weights());
  settings.zero = 0;
  if (ranks().rank() == 0) {
    EXPECT_EQ(whole, values_of(Trainer(settings).arena().weights()));
  }
}

TEST_F(RanksTest, WithoutMasterWeights) {
  Config settings = config();
  settings.dtype = DType::bf16;
  settings.master_weights = false;
  for (const int64_t zero : {0, 1}) {
    settings.zero = zero;
    expect_same_training(settings, 30, {.loss = 2e-3, .parameter = 3e-2});
  }
}

TEST_F(RanksTest, WithGradientsReducedInBfloat16) {
  Config settings = config();
  settings.reduce_dtype = DType::bf16;
  for (const int64_t zero : {0, 1}) {
    settings.zero = zero;
    expect_same_training(settings, 20, {.loss = 2e-3, .parameter = 3e-2});
  }
}

TEST_F(RanksTest, RerunsAreTheSameBits) {
  for (const int64_t zero : {0, 1}) {
    Config settings = config();
    settings.zero = zero;
    std::vector<std::vector<float>> weights;
    std::vector<std::vector<double>> losses(2);
    for (size_t run = 0; run < 2; ++run) {
      Trainer trainer(settings, shared_ranks());
      for (int i = 0; i < 10; ++i) losses[run].push_back(trainer.step().train_loss);
      weights.push_back(trainer.arena().weights().to_vector<float>());
    }
    EXPECT_EQ(losses[0], losses[1]);
    EXPECT_EQ(weights[0], weights[1]);
  }
}

TEST_F(RanksTest, AllRanksHaveTheSameWeights) {
  Config settings = config();
  settings.zero = 1;
  Trainer trainer(settings, shared_ranks());
  for (int i = 0; i < 5; ++i) trainer.step();
  const Tensor of_rank_0 = trainer.arena().weights().contiguous_copy();
  ranks().broadcast(of_rank_0);
  EXPECT_EQ(trainer.arena().weights().to_vector<float>(), of_rank_0.to_vector<float>());
}

TEST_F(RanksTest, EvaluateTogether) {
  for (const std::string& data : {(folder_ / "text.txt").string(), std::string("task:copy:4")}) {
    Config settings = config();
    settings.data = data;
    settings.eval_iters = 5;
    StepReport expected;
    StepReport got;
    Trainer(settings).evaluate(expected);
    Trainer(settings, shared_ranks()).evaluate(got);
    EXPECT_NEAR(*got.val_loss, *expected.val_loss, 1e-6 * *expected.val_loss);
    EXPECT_NEAR(*got.eval_train_loss, *expected.eval_train_loss, 1e-6 * *expected.eval_train_loss);
    EXPECT_EQ(got.val_accuracy, expected.val_accuracy);
  }
}

}  // namespace
}  // namespace tessera
