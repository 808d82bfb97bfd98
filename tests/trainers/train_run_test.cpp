// A whole training with everything it writes and prints, on the test's own text.
#include "trainers/train_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temporary_folder.h"
#include "trainers/autopsy_bundle.h"
#include "trainers/metrics.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class TrainRunTest : public testing::Test {
 protected:
  TrainRunTest() {
    std::string text;
    for (int i = 0; i < 300; ++i) text += "how vexingly quick daft zebras jump " + std::to_string(i % 7) + ". ";
    folder_.write("text.txt", text);
  }

  LoadedConfig load(std::vector<std::string> more) const {
    std::vector<std::string> words{"--data=" + (folder_ / "text.txt").string(),
                                   "--out_dir=" + run().string(),
                                   "--device=cpu",
                                   "--n_layer=1",
                                   "--n_head=2",
                                   "--n_embd=16",
                                   "--block_size=16",
                                   "--batch_size=2",
                                   "--max_iters=30",
                                   "--warmup_iters=0",
                                   "--eval_iters=1",
                                   "--max_new_tokens=1",
                                   "--tensorboard=False"};
    words.insert(words.end(), more.begin(), more.end());
    return load_config(words);
  }
  fs::path run() const { return folder_ / "run"; }
  bool has_bundle() const {
    for (const auto& entry : fs::directory_iterator(run())) {
      if (entry.path().filename().string().starts_with("autopsy_")) return true;
    }
    return false;
  }

  TemporaryFolder folder_;
};

struct Outcome {
  int code;
  std::string output;
  std::string errors;
};

Outcome run_captured(const LoadedConfig& loaded) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = TrainRun(loaded).run();
  std::fflush(stdout);
  return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

TEST_F(TrainRunTest, ACalibrationSkipIsOneLineAndNoIllness) {
  const Outcome outcome = run_captured(load({"--dtype=float16", "--init_scale=1e10"}));
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("step 1 skipped: the loss scale 1e+10 was too large, now 5e+09"));
  EXPECT_THAT(outcome.errors, Not(HasSubstr("tessera:")));
  EXPECT_FALSE(has_bundle());
  const StepReport first = read_metrics(run() / "metrics.jsonl").front();
  EXPECT_EQ(first.skipped_because, kLossScaleTooLarge);
  EXPECT_EQ(first.scale, 1e10);
  EXPECT_GT(read_metrics(run() / "metrics.jsonl").back().applied, 10);
}

TEST_F(TrainRunTest, CollapseHasAnExitCodeAReportAndABundle) {
  const Outcome outcome =
      run_captured(load({"--learning_rate=1e30", "--grad_clip=0", "--max_skipped_steps=3", "--min_lr=1"}));
  EXPECT_EQ(outcome.code, kExitNotFinite);
  EXPECT_THAT(outcome.errors, HasSubstr("training stopped at step 4: 3 steps in a row had non-finite gradients"));
  EXPECT_THAT(outcome.output,
              HasSubstr("step 2 was not finite: the first value that is not finite appeared in forward"));
  ASSERT_TRUE(fs::exists(run() / "autopsy_00000002"));

  const std::vector<std::string> bundle{(run() / "autopsy_00000002").string()};
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_replay(bundle), 0);
  std::fflush(stdout);
  const std::string replayed = testing::internal::GetCapturedStdout();
  ASSERT_FALSE(replayed.empty());
  EXPECT_THAT(outcome.output, HasSubstr(replayed.substr(0, replayed.find('\n'))));
}

// A scale that only ever falls hides an illness at first; before the training gives up, it is examined all the same.
TEST_F(TrainRunTest, ACollapseThatLooksLikeCalibrationIsExaminedAtItsEnd) {
  const Outcome outcome = run_captured(load({"--dtype=float16", "--init_scale=1e38", "--max_skipped_steps=3"}));
  EXPECT_EQ(outcome.code, kExitNotFinite);
  EXPECT_THAT(outcome.output, HasSubstr("step 3 was not finite"));
  EXPECT_TRUE(has_bundle());
}

}  // namespace
}  // namespace tessera
