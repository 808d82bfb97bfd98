#include "framework/io/mapped_file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::HasSubstr;

TEST(MappedFile, ShowsTheBytesAsLongAsAHandleLives) {
  const TemporaryFolder folder;
  MappedFile copy;
  {
    const MappedFile file = MappedFile::open(folder.write("a.txt", "hello"));
    EXPECT_EQ(file.text(), "hello");
    EXPECT_EQ(file.bytes().size(), 5u);
    EXPECT_EQ(file.path(), folder / "a.txt");
    copy = file;
  }
  std::filesystem::remove(folder / "a.txt");
  EXPECT_EQ(copy.text(), "hello");
}

TEST(MappedFile, AnEmptyFileHasNoBytes) {
  const TemporaryFolder folder;
  EXPECT_TRUE(MappedFile::open(folder.write("empty", "")).bytes().empty());
}

TEST(MappedFile, ReachesBeyondFourGigabytes) {
  const TemporaryFolder folder;
  const int64_t size = (int64_t{1} << 32) + 3;
  folder.write("sparse", "");
  std::filesystem::resize_file(folder / "sparse", static_cast<uintmax_t>(size));
  std::fstream(folder / "sparse", std::ios::in | std::ios::out | std::ios::binary).seekp(size - 1).put('z');
  const MappedFile file = MappedFile::open(folder / "sparse");
  ASSERT_EQ(file.text().size(), static_cast<size_t>(size));
  EXPECT_EQ(file.text().back(), 'z');
}

TEST(MappedFile, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  const std::string missing = (folder / "missing").string();
  EXPECT_EQ(message_of([&] { MappedFile::open(missing); }),
            missing + ": cannot be opened for reading: No such file or directory; check the path");
  EXPECT_THAT(message_of([&] { MappedFile::open(folder.path()); }), HasSubstr("Is a directory; a file is wanted"));
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(message_of([&] { MappedFile::open(folder / "pipe"); }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of([&] { MappedFile::open("/dev/zero"); }), HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace tessera
