// A training whose ranks are connected on the device: which collectives a step asks for, in which order, and that a
// CUDA graph holds them. The other rank is a recording with the same gradients.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/recording_collectives.h"
#include "tests/temporary_folder.h"
#include "trainers/trainer.h"

#ifdef TESSERA_WITH_CUDA
namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAreArray;

class StreamTraining : public testing::Test {
 protected:
  StreamTraining() : folder_(fs::temp_directory_path() / ("tessera-stream-training-" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
    std::ofstream text(folder_ / "text.txt");
    for (int i = 0; i < 200; ++i) text << "sphinx of black quartz, judge my vow " << i % 9 << ". ";
  }
  ~StreamTraining() override { fs::remove_all(folder_); }

  void SetUp() override {
    if (test_device().is_cpu()) GTEST_SKIP() << "this machine has no device besides the CPU";
    settings.data = (folder_ / "text.txt").string();
    settings.n_layer = 2;
    settings.n_head = 2;
    settings.n_embd = 32;
    settings.block_size = 16;
    settings.batch_size = 4;
    settings.warmup_iters = 0;
    settings.dropout = 0.1;
    settings.device = to_string(test_device());
    settings.first_bucket_mb = 0.01;
    settings.bucket_mb = 0.03;
  }

  // What each of `steps` steps asked for: names and counts; and the losses.
  struct Run {
    std::vector<std::vector<std::pair<std::string, int64_t>>> calls;
    std::vector<double> losses;
    std::vector<float> weights;
    int64_t replays = 0;
    std::vector<int64_t> buckets;
    Communicator::Usage usage_of_last_step;
  };
  Run run(int steps) const {
    Recorded recorded;
    Run result;
    Trainer trainer(settings,
                    stream_communicator(std::make_unique<RecordingCollectives>(recorded), test_device(), 0, 2));
    for (const GradientReducer::Bucket& bucket : trainer.reducer().buckets())
      result.buckets.push_back(bucket.range.size());
    for (int i = 0; i < steps; ++i) {
      const Communicator::Usage before = trainer.ranks().usage();
      recorded.calls.clear();
      result.losses.push_back(trainer.step().train_loss);
      result.calls.emplace_back();
      for (const RecordedCall& call : recorded.calls) result.calls.back().emplace_back(call.name, call.count);
      const Communicator::Usage after = trainer.ranks().usage();
      result.usage_of_last_step = {.busy = after.busy - before.busy, .waited = after.waited - before.waited};
    }
    result.weights = trainer.arena().weights().to(DType::f32).to_vector<float>();
    result.replays = trainer.replays();
    return result;
  }

  fs::path folder_;
  Config settings;
};

TEST_F(StreamTraining, AStepReducesItsBucketsThenAgrees) {
  settings.cuda_graph = Config::CudaGraph::off;
  const Run got = run(2);
  ASSERT_GE(got.buckets.size(), 3);
  std::vector<std::pair<std::string, int64_t>> expected;
  for (const int64_t size : got.buckets) expected.emplace_back("all_reduce", size);
  expected.emplace_back("all_reduce", 1);  // the loss
  expected.emplace_back("all_reduce", 1);  // who wants to stop
  for (const auto& calls : got.calls) EXPECT_THAT(calls, ElementsAreArray(expected));
}

TEST_F(StreamTraining, WithShardedStateAStepScattersDecidesAndGathers) {
  settings.cuda_graph = Config::CudaGraph::off;
  settings.zero = 1;
  settings.dtype = settings.reduce_dtype = DType::bf16;
  const Run got = run(2);
  std::vector<std::pair<std::string, int64_t>> expected;
  for (const int64_t size : got.buckets) expected.emplace_back("reduce_scatter", size / 2);
  for (int i = 0; i < 3; ++i) expected.emplace_back("all_reduce", 1);  // the loss, who wants to stop, the norm
  expected.emplace_back("all_reduce of the extreme", 1);               // whether all is finite
  for (const int64_t size : got.buckets) expected.emplace_back("all_gather", size / 2);
  for (const auto& calls : got.calls) EXPECT_THAT(calls, ElementsAreArray(expected));
}

TEST_F(StreamTraining, AGraphHoldsTheCollectives) {
  for (const auto& [zero, dtype] : {std::pair{0, DType::f32}, {1, DType::f32}, {0, DType::bf16}, {1, DType::bf16}}) {
    settings.zero = zero;
    settings.reduce_dtype = dtype;
    settings.cuda_graph = Config::CudaGraph::off;
    const Run plain = run(8);
    settings.cuda_graph = Config::CudaGraph::automatic;
    const Run graph = run(8);
    EXPECT_GE(graph.replays, 4);
    EXPECT_TRUE(graph.calls.back().empty());      // the host asks no more
    EXPECT_GT(graph.usage_of_last_step.busy, 0);  // and hears what the collectives took
    EXPECT_GT(graph.usage_of_last_step.waited, 0);
    EXPECT_EQ(graph.losses, plain.losses);
    EXPECT_EQ(graph.weights, plain.weights);
  }
}

}  // namespace
}  // namespace tessera
#endif
