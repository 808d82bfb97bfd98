// Steps that begin before the one in front is finished: the numbers are those of steps taken one by one, also around a
// skipped one, and on a GPU the host waits for nothing.
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/devices.h"
#include "tests/support/toy_config.h"
#include "tests/temporary_folder.h"
#include "trainers/train_run.h"

namespace tessera {
namespace {

class PipelinedTraining : public testing::Test {
 protected:
  PipelinedTraining() { write_toy_text(folder_.path(), "sphinx of black quartz, judge my vow", 200); }

  Config config() const {
    Config config = toy_config(folder_.path());
    config.block_size = 16;
    config.batch_size = 2;
    config.gradient_accumulation_steps = 2;
    config.max_iters = 8;
    config.eval_interval = 5;
    config.eval_iters = 2;
    config.log_interval = 1;
    config.dtype = DType::f16;
    config.threads = 1;
    config.max_new_tokens = 4;
    config.device = to_string(test_device());
    config.out_dir = (folder_ / "run").string();
    return config;
  }

  /// A checkpoint after two steps whose loss scale is far too large, so that the next steps are skipped.
  std::filesystem::path overflowing_checkpoint() const {
    const CheckpointStore store(folder_ / "overflowing", 1);
    Trainer trainer(config());
    trainer.step();
    trainer.step();
    trainer.save(store);
    const std::filesystem::path state = *store.latest() / "state.json";
    nlohmann::json content = nlohmann::json::parse(read_all(state));
    content.at("step").at("scale") = 16777216.0;
    std::ofstream(state) << content;
    return *store.latest();
  }

  TemporaryFolder folder_;
};

using Losses = std::vector<std::pair<int64_t, double>>;

TEST_F(PipelinedTraining, AStepBehindASkippedOneBeginsAgain) {
  const std::filesystem::path checkpoint = overflowing_checkpoint();
  Trainer one_by_one(config());
  one_by_one.load(checkpoint);
  Losses expected;
  for (int i = 0; i < 6; ++i) {
    const StepReport report = one_by_one.step();
    expected.emplace_back(report.step, report.train_loss);
  }
  const int64_t skipped = one_by_one.iteration() - one_by_one.state().applied;
  EXPECT_GE(skipped, 1);
  EXPECT_LT(skipped, 6);

  Trainer ahead(config());
  ahead.load(checkpoint);
  Losses losses;
  while (losses.size() < 6) {
    while (ahead.begun() < ahead.iteration() + 2) ahead.begin_step();
    const StepReport report = ahead.finish_step();
    losses.emplace_back(report.step, report.train_loss);
  }
  EXPECT_EQ(losses, expected);
  if (ahead.begun() > ahead.iteration()) ahead.finish_step();
}

TEST_F(PipelinedTraining, ARunReportsEveryStepInOrder) {
  Losses expected;
  Trainer one_by_one(config());
  for (int i = 0; i < 8; ++i) {
    const StepReport report = one_by_one.step();
    expected.emplace_back(report.step, report.train_loss);
  }
  EXPECT_EQ(TrainRun({.config = config(), .file = {}, .origins = {}, .notices = {}}).run(), 0);
  Losses losses;
  for (const StepReport& report : read_metrics(folder_ / "run/metrics.jsonl")) {
    losses.emplace_back(report.step, report.train_loss);
    EXPECT_EQ(report.val_loss.has_value(), report.step == 5 || report.step == 8);
    EXPECT_GT(*report.peak_memory_bytes, 0);
  }
  EXPECT_EQ(losses, expected);
}

TEST_F(PipelinedTraining, NothingIsSavedWhileAStepIsUnderWay) {
  Trainer trainer(config());
  trainer.begin_step();
  const CheckpointStore store(folder_ / "saved", 1);
  EXPECT_EQ(message_of([&] { trainer.save(store); }), "trainer: step 1 is under way; finish it before saving");
  trainer.finish_step();
  trainer.save(store);
  EXPECT_TRUE(store.latest().has_value());
}

#ifdef TESSERA_SIMT
TEST_F(PipelinedTraining, AStepMakesTheHostWaitForNothing) {
  for (const Config::CudaGraph graph : {Config::CudaGraph::off, Config::CudaGraph::automatic}) {
    Config settings = config();
    settings.cuda_graph = graph;
    settings.position = LanguageModel::Position::alibi;
    Trainer trainer(settings);
    // Memory and algorithms are found, the step is recorded; pinned buffers for two steps under way.
    for (int i = 0; i < 4; ++i) trainer.step();
    for (int i = 0; i < 2; ++i) trainer.begin_step();
    for (int i = 0; i < 2; ++i) trainer.finish_step();
    const int64_t before = simt::host_waits();
    trainer.begin_step();
    EXPECT_EQ(simt::host_waits(), before);
    trainer.begin_step();
    EXPECT_EQ(simt::host_waits(), before);
    trainer.finish_step();
    EXPECT_EQ(simt::host_waits(), before + 2);  // for the copies of the first step's state and of its vote to stop
    trainer.finish_step();
  }
}
#endif

}  // namespace
}  // namespace tessera
