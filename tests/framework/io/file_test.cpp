#include "framework/io/file.h"

#include <cerrno>
#include <thread>

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::HasSubstr;

TEST(File, ReadsAFileOrAPipeToItsEnd) {
  const TemporaryFolder folder;
  const std::string large(300'000, 'x');
  EXPECT_EQ(read_file(folder.write("large", large)), large);
  EXPECT_EQ(read_file(folder.write("empty", "")), "");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  std::thread writer([&] { folder.write("pipe", large); });
  EXPECT_EQ(read_file(folder / "pipe"), large);
  writer.join();
}

TEST(File, GrowsByWhatIsAppended) {
  const TemporaryFolder folder;
  AppendFile file(folder / "a");
  file.append("one\n");
  AppendFile(folder / "a").append("two\n");
  file.append("three\n");
  EXPECT_EQ(read_all(folder / "a"), "one\ntwo\nthree\n");
}

TEST(File, NamesPathCauseAndCure) {
  const TemporaryFolder folder;
  const std::string missing = (folder / "missing").string();
  EXPECT_EQ(message_of([&] { read_file(missing); }),
            missing + ": cannot be opened for reading: No such file or directory; check the path");
  EXPECT_THAT(message_of([&] { read_file(folder.path()); }),
              HasSubstr(folder.path().string() + ": cannot be read: Is a directory; a file is wanted"));
  EXPECT_THAT(message_of([&] { AppendFile(folder.path()); }),
              HasSubstr(": cannot be opened for writing: Is a directory; a file is wanted"));
  AppendFile full("/dev/full");
  EXPECT_EQ(message_of([&] { full.append("x"); }),
            "/dev/full: cannot be written: No space left on device; make room and try again");
  EXPECT_EQ(cause_and_cure(EACCES), "Permission denied; change the permissions or choose another place");
}

}  // namespace
}  // namespace tessera
