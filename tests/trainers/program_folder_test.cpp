// The program and a run folder that two trainings want, that was copied, or that somebody removes under a training.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainers/program.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

class ProgramFolderTest : public ProgramTest {
 protected:
  /// Words of a training in `run` that ends when it is told to, started from any folder.
  Words endless() const {
    return {"train",
            (folder_ / "toy.cfg").string(),
            "--data=" + (folder_ / "text.txt").string(),
            "--out_dir=" + (folder_ / "run").string(),
            "--max_iters=1000000",
            "--eval_interval=1000000"};
  }
  /// Whether metrics.jsonl comes to hold more than `bytes`.
  bool reports(size_t bytes = 200) const {
    return eventually([&] { return read_all(folder_ / "run/metrics.jsonl").size() > bytes; });
  }
  /// A copy that holds what links point to.
  void copy_with_links_followed(const char* to) const {
    fs::copy(folder_ / "run", folder_ / to, fs::copy_options::recursive);
    ASSERT_TRUE(fs::is_directory(fs::symlink_status(folder_ / to / "latest")));
  }

  TemporaryFolder elsewhere_;
};

TEST_F(ProgramFolderTest, OneTrainingHasItToItself) {
  good({"train", "toy.cfg"});
  const size_t before = fs::file_size(folder_ / "run/metrics.jsonl");
  Words resumed = endless();
  resumed.emplace_back("--init_from=resume");
  {
    const Program training(elsewhere_, resumed);
    ASSERT_TRUE(reports(before));
    for (const std::string from : {"scratch", "resume"}) {
      EXPECT_THAT(bad(1, {"train", "toy.cfg", "--init_from=" + from}),
                  HasSubstr("out_dir run: another training is writing to this folder; "));
    }
    copy_with_links_followed("copy");
    good({"train", "copy", "--init_from=resume", "--max_iters=6"});
  }  // killed
  EXPECT_THAT(good({"train", "run", "--init_from=resume", "--max_iters=6"}), HasSubstr("step 6: "));
}

TEST_F(ProgramFolderTest, AnEmptyFolderWithALockIsFresh) {
  fs::create_directories(folder_ / "run");
  folder_.write("run/.lock", "");
  good({"train", "toy.cfg"});
}

TEST_F(ProgramFolderTest, ACopyWithLinksFollowedIsResumed) {
  good({"train", "toy.cfg"});
  copy_with_links_followed("copy");
  EXPECT_THAT(good({"train", "copy", "--init_from=resume", "--max_iters=6"}),
              HasSubstr("copy/latest was a folder, as copying with links followed makes it, and is now "
                        "copy/latest.copy; remove that if it is of no use\n"));
  EXPECT_EQ(fs::read_symlink(folder_ / "copy/latest"), "step_00000006");
  EXPECT_EQ(read_all(folder_ / "copy/latest.copy/model.safetensors"), weights("run"));
}

TEST_F(ProgramFolderTest, WhatAKilledProcessLeftIsRemovedOrBroughtBack) {
  good({"train", "toy.cfg"});
  for (const char* name : {"run/.step_00000001.old", "run/.step_00000006.partial"}) {
    fs::create_directories(folder_ / name);
    folder_.write(name + std::string("/model.safetensors"), "half of one");
  }
  fs::rename(folder_ / "run/step_00000004", folder_ / "run/.step_00000004.old");
  EXPECT_THAT(good({"train", "run", "--init_from=resume", "--max_iters=5"}),
              HasSubstr("resuming from run/step_00000004"));
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_ / "run"))
    EXPECT_THAT(entry.path().filename().string(), Not(::testing::StartsWith(".step")));
}

TEST_F(ProgramFolderTest, OneThatIsRemovedUnderATrainingIsWrittenAgain) {
  Program training(elsewhere_, endless());
  ASSERT_TRUE(reports());
  fs::rename(folder_ / "run", folder_ / "removed");
  fs::remove_all(folder_ / "removed");
  ASSERT_TRUE(reports());
  EXPECT_TRUE(fs::exists(folder_ / "run/config.cfg"));
  training.send(SIGTERM);
  const Outcome outcome = training.wait();
  EXPECT_EQ(outcome.code, 128 + SIGTERM) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("run: somebody removed files of this run; "));
  const auto rows = metrics("run");
  for (size_t i = 0; i < rows.size(); ++i) ASSERT_EQ(rows[i].at("step"), i + 1);
  const std::string next = std::to_string(rows.size() + 2);
  EXPECT_THAT(good({"train", "run", "--init_from=resume", "--max_iters=" + next}), HasSubstr("step " + next + ": "));
}

}  // namespace
}  // namespace tessera
