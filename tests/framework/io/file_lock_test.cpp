#include "framework/io/file_lock.h"

#include <csignal>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

TEST(FileLock, OneHolderAtATimeUntilItEnds) {
  const TemporaryFolder folder;
  {
    const FileLock first(folder / "lock");
    EXPECT_FALSE(first.taken());
    EXPECT_TRUE(FileLock(folder / "lock").taken());
    fs::copy(folder / "lock", folder / "copy");
    EXPECT_FALSE(FileLock(folder / "copy").taken());
  }
  EXPECT_FALSE(FileLock(folder / "lock").taken());
}

TEST(FileLock, AKilledProcessHoldsNothing) {
  const TemporaryFolder folder;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const FileLock lock(folder / "lock");
    [[maybe_unused]] const ssize_t told = write(ready[1], "x", 1);
    while (true) pause();
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_TRUE(FileLock(folder / "lock").taken());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(FileLock(folder / "lock").taken());
  close(ready[0]);
  close(ready[1]);
}

TEST(FileLock, ARemovedOrReplacedFileIsNoticed) {
  const TemporaryFolder folder;
  const FileLock lock(folder / "lock");
  EXPECT_TRUE(lock.in_place());
  fs::remove(folder / "lock");
  EXPECT_FALSE(lock.in_place());
  folder.write("lock", "");
  EXPECT_FALSE(lock.in_place());
}

TEST(FileLock, WhereNoFileCanBeMadeNothingIsHeld) {
  const TemporaryFolder folder;
  const FileLock lock(folder / "missing/lock");
  EXPECT_FALSE(lock.taken());
  EXPECT_TRUE(lock.in_place());
}

}  // namespace
}  // namespace tessera
