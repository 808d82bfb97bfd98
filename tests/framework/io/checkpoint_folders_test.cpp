#include "framework/io/checkpoint_folders.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CheckpointFoldersTest : public testing::Test {
 protected:
  /// A folder that holds `content` as its weights, and is complete or not.
  void put(const std::string& name, const std::string& content, const std::string& mark = "COMPLETE") const {
    fs::create_directories(folder_ / name);
    folder_.write(name + "/model.safetensors", content);
    folder_.write(name + "/" + mark, "");
  }
  std::string weights(const std::string& name) const { return read_all(folder_ / (name + "/model.safetensors")); }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_.path()))
      all.push_back(entry.path().filename().string());
    std::ranges::sort(all);
    return all;
  }

  TemporaryFolder folder_;
};

TEST_F(CheckpointFoldersTest, ReplaceAndRemoveLeaveNothingHidden) {
  put("step_00000003", "older");
  put(".step_00000003.partial", "newer");
  put_in_place(folder_ / "step_00000003");
  EXPECT_EQ(weights("step_00000003"), "newer");
  EXPECT_THAT(names(), ElementsAre("step_00000003"));
  remove_checkpoint(folder_ / "step_00000003");
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(CheckpointFoldersTest, RecoverRemovesWhatIsHalfAndBringsBackWhatIsWhole) {
  put(".step_00000001.old", "half", "state.json");
  put(".step_00000002.partial", "half", "state.json");
  put(".step_00000003.partial", "newer");  // killed between the two renames
  put(".step_00000003.old", "older");
  put(".step_00000004.old", "only");
  put(".step_00000005.old", "older");  // killed before it was removed
  put("step_00000005", "newer");
  put(".step_00000006.old", "whole");  // what stands in its place may be somebody's work
  put("step_00000006", "half", "notes.txt");
  EXPECT_THAT(recover_checkpoints(folder_.path()), IsEmpty());
  EXPECT_THAT(names(),
              ElementsAre(".step_00000006.old", "step_00000003", "step_00000004", "step_00000005", "step_00000006"));
  EXPECT_EQ(weights("step_00000003"), "newer");
  EXPECT_EQ(weights("step_00000004"), "only");
  EXPECT_EQ(weights("step_00000005"), "newer");
}

TEST_F(CheckpointFoldersTest, AFolderLatestIsMovedAsideAndNothingInItLost) {
  put("step_00000005", "five");
  put("latest", "once");
  put("latest.copy", "before");
  EXPECT_THAT(message_of([&] { point_latest_to(folder_ / "step_00000005"); }),
              HasSubstr("/latest: this link cannot be set: Is a directory; move what is there away"));
  EXPECT_THAT(recover_checkpoints(folder_.path()), ElementsAre(HasSubstr("/latest.copy2; remove that")));
  point_latest_to(folder_ / "step_00000005");
  EXPECT_EQ(weights("latest"), "five");
  EXPECT_EQ(weights("latest.copy"), "before");
  EXPECT_EQ(weights("latest.copy2"), "once");
  EXPECT_THAT(recover_checkpoints(folder_.path()), IsEmpty());
}

}  // namespace
}  // namespace tessera
