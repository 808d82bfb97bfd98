// What ends a training over several ranks: a step that is not finite, a rank that is asked to stop, and a batch too
// small for all of them.
#include <algorithm>
#include <cstring>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ranks/ranks_fixture.h"
#include "tests/temporary_folder.h"
#include "trainers/autopsy_bundle.h"
#include "trainers/config/describe.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

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
