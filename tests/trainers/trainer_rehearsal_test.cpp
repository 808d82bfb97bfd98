// The memory that `check` predicts against what a step takes.
#include <cstdlib>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <omp.h>

#include "framework/tensor/allocator.h"
#include "tests/support/toy_config.h"
#include "tests/temporary_folder.h"
#include "trainers/trainer.h"

namespace tessera {
namespace {

class Rehearsal : public testing::Test {
 protected:
  Rehearsal() { write_toy_text(folder_.path(), "the quick brown fox jumps over the lazy dog", 400); }

  Config config() const {
    Config config = toy_config(folder_.path());
    config.block_size = 32;
    config.batch_size = 4;
    config.gradient_accumulation_steps = 2;
    return config;
  }

  TemporaryFolder folder_;
};

// In a process of its own: the allocator's peak is that of everything the process did.
TEST_F(Rehearsal, PredictsMemoryFromFewRows) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto predicted_share = [this] {
    omp_set_num_threads(2);  // the scratch memory of many threads outweighs a model as small as this one
    Config settings = config();
    settings.batch_size = 32;
    const Trainer trainer(settings);
    const auto predicted = static_cast<double>(trainer.predict_memory());
    trainer.rehearse(settings.batch_size);
    const double share = predicted / static_cast<double>(allocator_stats(trainer.device()).peak_bytes);
    fmt::print(stderr, "predicted {} of the peak\n", share);
    std::filesystem::remove_all(folder_.path());  // this process ends without its destructor
    return share > 0.95 && share < 1.05;
  };
  EXPECT_EXIT(std::exit(predicted_share() ? 0 : 1), testing::ExitedWithCode(0), "predicted");
}

TEST_F(Rehearsal, PredictsMemoryWithTheTokensOfEveryMicroBatch) {
  Config settings = config();
  settings.gradient_accumulation_steps = 1;
  const int64_t one = Trainer(settings).predict_memory();
  settings.gradient_accumulation_steps = 100'001;
  const int64_t many = Trainer(settings).predict_memory();
  const int64_t bytes = 16;  // of a token: an id and a target, each as loaded and as tensors
  EXPECT_NEAR(static_cast<double>(many - one) / static_cast<double>(100'000 * 4 * 32 * bytes), 1, 0.05);
}

}  // namespace
}  // namespace tessera
