#include "trainers/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class RunFolderTest : public testing::Test {
 protected:
  LoadedConfig fresh() const {
    const std::vector<std::string> words{"--out_dir=" + place().string()};
    return load_config(words);
  }
  fs::path place() const { return folder_ / "run"; }

  TemporaryFolder folder_;
};

TEST_F(RunFolderTest, OneOwnerAtATime) {
  {
    RunFolder first(fresh());
    first.open();
    EXPECT_THAT(message_of([&] { RunFolder(fresh()).open(); }),
                HasSubstr("another training is writing to this folder"));
  }
  RunFolder(fresh()).open();
}

TEST_F(RunFolderTest, OneThatAnotherRunHasTakenIsLeftAlone) {
  RunFolder run(fresh());
  run.open();
  run.write_config();
  EXPECT_TRUE(run.stands());
  fs::rename(place(), folder_ / "removed");
  EXPECT_FALSE(run.stands());
  fs::create_directories(place());
  folder_.write("run/config.cfg", "learning_rate = 1\n");
  EXPECT_FALSE(run.stands());
  EXPECT_THAT(message_of([&] { run.restore(); }),
              HasSubstr("run: while this training ran, another run took the folder's place; "));
  EXPECT_EQ(read_all(place() / "config.cfg"), "learning_rate = 1\n");
}

}  // namespace
}  // namespace tessera
