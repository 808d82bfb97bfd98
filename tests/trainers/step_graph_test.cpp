// Steps replayed as a CUDA graph against steps that are not recorded: equal to the bit.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/devices.h"
#include "tests/support/silent_communicator.h"
#include "tests/support/toy_config.h"
#include "tests/temporary_folder.h"
#include "trainers/trainer.h"
#include "trainers/trainer_parts.h"

namespace tessera {
namespace {

class StepGraphTest : public testing::Test {
 protected:
  StepGraphTest() { write_toy_text(folder_.path(), "how vexingly quick daft zebras jump", 200); }
  void SetUp() override {
    if (test_device().is_cpu()) GTEST_SKIP() << "the CPU records no work";
  }

  Config config(Config::CudaGraph graph) const {
    Config config = toy_config(folder_.path());
    config.block_size = 16;
    config.batch_size = 2;
    config.gradient_accumulation_steps = 2;
    config.max_iters = 20;
    config.warmup_iters = 3;
    config.eval_iters = 2;
    config.dtype = DType::f16;
    config.device = to_string(test_device());
    config.cuda_graph = graph;
    return config;
  }

  TemporaryFolder folder_;
};

struct Outcome {
  std::vector<double> losses, evaluations;
  std::vector<float> weights;
  int64_t applied, replays;
};

// 20 steps in float16; the scale is made far too large before the ninth, which is skipped; evaluations between replays.
Outcome train(const Config& config, const std::filesystem::path& folder) {
  Outcome outcome;
  Trainer trainer(config);
  for (int i = 0; i < 20; ++i) {
    if (i == 8) {
      const CheckpointStore store(folder, 1);
      trainer.save(store);
      const std::filesystem::path state = *store.latest() / "state.json";
      nlohmann::json content = nlohmann::json::parse(read_all(state));
      content.at("step").at("scale") = 268435456.0;
      std::ofstream(state) << content;
      trainer.load(*store.latest());
    }
    outcome.losses.push_back(trainer.step().train_loss);
    if (i % 6 != 5) continue;
    StepReport report;
    trainer.evaluate(report);
    outcome.evaluations.push_back(*report.val_loss);
  }
  outcome.weights = trainer.arena().weights().to_vector<float>();
  outcome.applied = trainer.state().applied;
  outcome.replays = trainer.replays();
  return outcome;
}

TEST_F(StepGraphTest, EqualsTheEagerStepOverASkippedOneAndEvaluations) {
  const Outcome eager = train(config(Config::CudaGraph::off), folder_ / "eager");
  const Outcome graph = train(config(Config::CudaGraph::automatic), folder_ / "graph");
  EXPECT_EQ(eager.replays, 0);
  EXPECT_EQ(graph.replays, 17);
  EXPECT_LT(graph.applied, 20);
  EXPECT_EQ(graph.applied, eager.applied);
  EXPECT_EQ(graph.losses, eager.losses);
  EXPECT_EQ(graph.evaluations, eager.evaluations);
  EXPECT_EQ(graph.weights, eager.weights);
}

TEST_F(StepGraphTest, RecordsOtherModelsToo) {
  const auto llama = [&](Config::CudaGraph graph) {
    Config settings = config(graph);
    settings.dtype = DType::bf16;
    settings.position = LanguageModel::Position::alibi;
    settings.norm = Norm::Kind::rms;
    settings.activation = FeedForward::Kind::swiglu;
    settings.kv_heads = 1;
    settings.recompute = true;
    settings.tie_embeddings = false;
    settings.optimizer = Config::Optimizer::sgd;
    return settings;
  };
  Trainer eager(llama(Config::CudaGraph::off)), graph(llama(Config::CudaGraph::automatic));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(graph.step().train_loss, eager.step().train_loss) << "step " << i;
  EXPECT_EQ(graph.replays(), 3);
}

TEST_F(StepGraphTest, SaysWhyNothingIsRecorded) {
  EXPECT_EQ(Trainer(config(Config::CudaGraph::automatic)).why_no_graph(), "");
  EXPECT_EQ(Trainer(config(Config::CudaGraph::off)).why_no_graph(), "cuda_graph = off");
  Config parallel = config(Config::CudaGraph::automatic);
  parallel.parallel = true;
  EXPECT_EQ(Trainer(parallel).why_no_graph(), "parallel = True uses more than one device");
  EXPECT_EQ(reason_for_no_graph(config(Config::CudaGraph::automatic), SilentCommunicator(2)),
            "gradients of several ranks travel through the host");
}

TEST_F(StepGraphTest, AShapeIsRecordedOnceItHasBeenSeenOften) {
  StepGraph graph(test_device(), 1, "");
  const std::vector<MicroStep> steps{{.batch = {.ids = {1, 2, 3, 4}, .targets = {2, 3, 4, 5}, .rows = 2}}};
  const Tensor ran = Tensor::zeros({}, DType::f32, test_device());
  const auto run = [&](double tokens) {
    ran.fill(0);
    graph.run(steps, 0, tokens, [&](std::span<const MicroInput>, DropoutKeys*) { ran.fill(1); });
    EXPECT_EQ(ran.item(), 1);
  };
  for (int i = 0; i < 5; ++i) run(i);  // every step divides by another number
  EXPECT_EQ(graph.replays(), 0);
  for (int i = 0; i < 5; ++i) run(0);
  EXPECT_EQ(graph.replays(), 3);

  testing::internal::CaptureStderr();
  for (int i = 5; i < 8; ++i) run(i);  // the eighth
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  for (int i = 0; i < 8; ++i) run(8 + i % 2);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "cuda_graph: the steps have more than 8 shapes (rows, tokens, targets that count); those of further shapes "
            "are not recorded\n")
      << "once";
  EXPECT_EQ(graph.replays(), 3);
}

#ifdef TESSERA_SIMT
// Here because the host asks for a number.
TEST_F(StepGraphTest, AStepThatCannotBeRecordedRunsAllTheSame) {
  StepGraph graph(test_device(), 1, "");
  const std::vector<MicroStep> steps{{.batch = {.ids = {1, 2}, .targets = {2, 3}, .rows = 1}}};
  const Tensor sum = Tensor::zeros({}, DType::f64, test_device());
  testing::internal::CaptureStderr();
  for (int i = 0; i < 6; ++i) {
    graph.run(steps, i, 0, [&](std::span<const MicroInput>, DropoutKeys*) { sum.fill(sum.item() + 1); });
  }
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(sum.item(), 6);
  EXPECT_EQ(graph.replays(), 0);
  EXPECT_THAT(graph.why_not(), testing::HasSubstr("recording a step failed: cuda: "));
  EXPECT_EQ(said, "cuda_graph: off, because " + graph.why_not() + "\n");
}
#endif

}  // namespace
}  // namespace tessera
