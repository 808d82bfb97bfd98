// Training over several ranks against training on one: every rank also runs the whole batch by itself, as the
// reference.
#include "trainers/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "framework/distributed/agreement.h"
#include "tests/ranks/ranks.h"
#include "tests/support/devices.h"
#include "tests/support/toy_config.h"
#include "tests/temporary_folder.h"
#include "trainers/autopsy_bundle.h"
#include "trainers/config/describe.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// The ranks' communicator, as what a Trainer takes; it is not the Trainer's to destroy.
std::shared_ptr<Communicator> shared_ranks() { return {std::shared_ptr<void>(), &ranks()}; }

// A folder that all ranks see; rank 0 makes and removes it.
class RanksTest : public testing::Test {
 protected:
  RanksTest() {
    const std::string name = "tessera-ranks-test-" + std::to_string(getpid());
    folder_ = broadcast_text((fs::temp_directory_path() / name).string(), 0, ranks());
    if (ranks().rank() == 0) {
      fs::create_directories(folder_);
      write_toy_text(folder_, "the quick brown fox jumps over the lazy dog", 400);
    }
    ranks().barrier();
  }
  ~RanksTest() override {
    ranks().barrier();
    if (ranks().rank() == 0) fs::remove_all(folder_);
  }

  Config config() const {
    Config config = toy_config(folder_);
    config.block_size = 32;
    config.batch_size = 12;
    config.max_iters = 40;
    config.learning_rate = 1e-3;
    config.eval_iters = 3;
    config.device = to_string(test_device());
    config.first_bucket_mb = 0.01;
    config.bucket_mb = 0.03;
    return config;
  }

  fs::path folder_;
};

struct Bounds {
  double loss;       // relative, at every iteration
  double parameter;  // relative norm of the difference, per tensor
};

double relative_difference(const Tensor& a, const Tensor& b) {
  const std::vector<float> x = a.to(DType::f32).to_vector<float>();
  const std::vector<float> y = b.to(DType::f32).to_vector<float>();
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += std::pow(double{x[i]} - double{y[i]}, 2);
    norm += std::pow(double{y[i]}, 2);
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

// Of all weights; nothing where only rank 0 has them all.
std::vector<float> values_of(const Tensor& weights) {
  return weights.defined() ? weights.to_vector<float>() : std::vector<float>();
}

void expect_same_parameters(const Trainer& trainer, const Trainer& reference, double bound) {
  const Tensor weights = trainer.weights(), expected = reference.weights();
  if (!weights.defined()) return;
  for (const ParameterArena::Entry& entry : reference.arena().entries()) {
    EXPECT_LE(relative_difference(weights.slice(0, entry.begin, entry.end), expected.slice(0, entry.begin, entry.end)),
              bound)
        << entry.parameter->name;
  }
}

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

// A checkpoint of 16-bit training with ZeRO holds the float32 masters: it goes on with the same bits, and without ZeRO.
TEST_F(RanksTest, SplitMastersAreSavedWhole) {
  Config settings = config();
  settings.zero = 1;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    settings.dtype = dtype;
    const CheckpointStore store(folder_ / std::string(name_of(dtype)), 0);
    Trainer straight(settings, shared_ranks());
    for (int i = 0; i < 5; ++i) straight.step();
    straight.save(store);
    Trainer again(settings, shared_ranks());
    again.load(*store.latest());
    const std::vector<float> saved = values_of(straight.weights());
    EXPECT_EQ(saved.empty(), ranks().rank() > 0);
    EXPECT_EQ(values_of(again.weights()), saved);
    EXPECT_EQ(again.arena().masters().to_vector<float>(), straight.arena().masters().to_vector<float>());
    Config unsplit = settings;
    unsplit.zero = 0;
    Trainer alone(unsplit);
    alone.load(*store.latest());
    if (ranks().rank() == 0) {
      EXPECT_EQ(values_of(alone.weights()), saved);
    }
    for (int i = 0; i < 5; ++i) {
      const double expected = straight.step().train_loss;
      EXPECT_EQ(again.step().train_loss, expected);
      EXPECT_NEAR(alone.step().train_loss, expected, 2e-3 * expected);
    }
    EXPECT_EQ(values_of(again.weights()), values_of(straight.weights()));
  }
}

// A checkpoint knows no number of ranks: saved by all and resumed by one, and the other way.
TEST_F(RanksTest, CheckpointsGoOnAtAnyNumberOfRanks) {
  Config settings = config();
  settings.zero = 1;
  const CheckpointStore store(folder_ / "together", 0);
  Trainer together(settings, shared_ranks());
  for (int i = 0; i < 5; ++i) together.step();
  together.save(store);

  Trainer again(settings, shared_ranks());
  again.load(*store.latest());
  settings.zero = 0;
  Trainer alone(settings);
  alone.load(*store.latest());
  for (int i = 0; i < 5; ++i) {
    const double expected = together.step().train_loss;
    EXPECT_EQ(again.step().train_loss, expected);
    EXPECT_NEAR(alone.step().train_loss, expected, 1e-6 * expected);
  }
  EXPECT_EQ(again.arena().weights().to_vector<float>(), together.arena().weights().to_vector<float>());
  expect_same_parameters(alone, together, 1e-5);

  const CheckpointStore store_of_one(folder_ / ("alone" + std::to_string(ranks().rank())), 0);
  alone.save(store_of_one);
  settings.zero = 1;
  Trainer joined(settings, shared_ranks());
  joined.load(*store_of_one.latest());
  const double expected = alone.step().train_loss;
  EXPECT_NEAR(joined.step().train_loss, expected, 1e-6 * expected);
}

// One character is met by one rank only, and its vector is infinite: the gradients of all are spoilt, and the autopsy
// says by whom. The bundle is that rank's, and its step can be run again.
TEST_F(RanksTest, AnAutopsyNamesTheRank) {
  Config settings = config();
  settings.data = (folder_ / "rare.txt").string();
  settings.tie_embeddings = false;
  if (ranks().rank() == 0) {
    std::string text;
    for (int i = 0; i < 60; ++i) text += "the quick brown fox jumps over the lazy dog. ";
    text[1000] = 'Z';
    std::ofstream(settings.data) << text;
  }
  ranks().barrier();
  LoadedConfig loaded;
  loaded.config = settings;
  Trainer trainer(settings, shared_ranks());
  const int64_t rare = trainer.data().tokenizer().encode("Z").front();
  trainer.model().wte.weight.value().slice(0, rare, rare + 1).fill(INFINITY);
  int owner = -1;
  StepReport report;
  for (int i = 0; i < 8 && !report.skipped_because; ++i) {
    bool met = false;
    for (const MicroStep& step : trainer.micro_steps(i)) met |= std::ranges::count(step.batch.ids, rare) > 0;
    owner = first_rank_where(met, ranks()).value_or(-1);
    report = trainer.step();
  }
  ASSERT_TRUE(report.skipped_because && owner >= 0);
  const fs::path folder = folder_ / "autopsies";
  const std::string told = write_autopsy(trainer, folder, effective_config(loaded), static_cast<float>(report.scale));
  EXPECT_EQ(told, broadcast_text(told, 0, ranks()));
  const std::string whose = ranks().world() > 1 ? " on rank " + std::to_string(owner) : "";
  EXPECT_THAT(told, HasSubstr("was not finite" + whose + ": "));
  EXPECT_THAT(told, HasSubstr("embedding"));
  ranks().barrier();
  if (ranks().rank() != owner) return;
  const std::string bundle = told.substr(told.find("tessera replay ") + std::strlen("tessera replay "));
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_replay(std::vector<std::string>{bundle}), 0);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("embedding"));
}

TEST_F(RanksTest, StopTogetherWhenOneIsAsked) {
  Trainer trainer(config(), shared_ranks());
  trainer.step();
  EXPECT_FALSE(trainer.stop_agreed());
  if (ranks().rank() == ranks().world() - 1) trainer.ask_to_stop();
  trainer.step();
  EXPECT_TRUE(trainer.stop_agreed());
}

TEST_F(RanksTest, RefuseABatchThatGivesARankNothing) {
  if (ranks().world() == 1) GTEST_SKIP() << "one rank always has something to do";
  Config settings = config();
  settings.batch_size = 1;
  Trainer trainer(settings, shared_ranks());
  EXPECT_THAT(message_of([&] { trainer.step(); }), HasSubstr("cannot be split over"));
}

}  // namespace
}  // namespace tessera
