#include "framework/io/atomic_file.h"

#include <vector>

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

size_t files_in(const TemporaryFolder& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

/// Files of this process cannot grow beyond `bytes` while it lives: a full disk for one test.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  sighandler_t handler_;
  rlimit before_{};
};

TEST(AtomicFile, AppearsWholeOnCommit) {
  const TemporaryFolder folder;
  const auto path = folder.write("state.json", "old");
  const std::string large(200'000, 'x');
  {
    AtomicFile file(path);
    file.write("new ");
    file.write(large);
    file.write(" end");
    EXPECT_EQ(read_all(path), "old");
    file.commit();
  }
  EXPECT_EQ(read_all(path), "new " + large + " end");
  EXPECT_EQ(files_in(folder), 1u);
}

TEST(AtomicFile, AnAbandonedFileLeavesNoTrace) {
  const TemporaryFolder folder;
  const auto path = folder.write("a", "old");
  {
    AtomicFile file(path);
    file.write("half of the n");
    EXPECT_EQ(files_in(folder), 2u);
  }
  EXPECT_EQ(read_all(path), "old");
  EXPECT_EQ(files_in(folder), 1u);
}

TEST(AtomicFile, ReplacesWhatAKilledProcessLeft) {
  const TemporaryFolder folder;
  folder.write(".a." + std::to_string(getpid()) + ".partial", "rubbish of a killed run");
  write_file(folder / "a", "whole");
  EXPECT_EQ(read_all(folder / "a"), "whole");
  EXPECT_EQ(files_in(folder), 1u);
}

TEST(AtomicFile, AFullDiskLeavesTheOldFileUntouched) {
  const TemporaryFolder folder;
  const auto path = folder.write("weights", "precious");
  const std::string large(1 << 20, 'x');
  std::string message;
  {
    const FileSizeLimit limit(300'000);
    message = message_of([&] { write_file(path, large); });
  }
  EXPECT_EQ(message, path.string() +
                         ": cannot be written: File too large; make room and try again (what was there "
                         "before is untouched)");
  EXPECT_EQ(read_all(path), "precious");
  EXPECT_EQ(files_in(folder), 1u);
}

TEST(AtomicFile, NamesThePathAndTheCause) {
  const TemporaryFolder folder;
  EXPECT_EQ(message_of([&] { write_file(folder / "none" / "a", "x"); }),
            (folder / "none" / "a").string() + ": cannot be created: No such file or directory; check the path");
  folder.write("plain", "");
  EXPECT_THAT(message_of([&] { write_file(folder / "plain" / "a", "x"); }), HasSubstr("Not a directory"));
  std::filesystem::create_directory(folder / "taken");
  EXPECT_THAT(message_of([&] { write_file(folder / "taken", "x"); }), HasSubstr("cannot be put in place"));
  EXPECT_EQ(files_in(folder), 2u);
  EXPECT_THAT(message_of([&] { sync_folder(folder / "none"); }), StartsWith((folder / "none").string()));
}

TEST(AtomicFile, AReadOnlyFolderIsAnError) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  const TemporaryFolder folder;
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  const std::string message = message_of([&] { write_file(folder / "a", "x"); });
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
  EXPECT_EQ(message, (folder / "a").string() +
                         ": cannot be created: Permission denied; change the permissions or choose another place");
}

TEST(AtomicFile, WritesToTheWorkingFolder) {
  const TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  write_file("plain_name", "x");
  std::filesystem::current_path(before);
  EXPECT_EQ(read_all(folder / "plain_name"), "x");
}

}  // namespace
}  // namespace tessera
