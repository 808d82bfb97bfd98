#include "framework/distributed/process.h"

#include <csignal>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tessera {
namespace {

TEST(Process, IsWhatTheKernelSays) {
  const Process self = process(getpid());
  EXPECT_EQ(self.parent, getppid());
  EXPECT_EQ(self.name, "framework_test");
  EXPECT_EQ(self.state, 'R');
  EXPECT_GT(self.started, 0);
  EXPECT_TRUE(process(1 << 30).is_gone());
}

// A launcher that waits for ever. It starts one process, which asks for its end and leaves; neither of them keeps
// `output` open.
pid_t launcher_to_be_killed(int seconds, int output = -1) {
  const pid_t launcher = fork();
  if (launcher != 0) return launcher;
  if (fork() == 0) {
    kill_parent_later(seconds);
    _exit(0);
  }
  close(output);
  for (;;) pause();
}

TEST(Process, AParentThatDoesNotEndIsKilled) {
  int status = 0;
  ASSERT_GT(waitpid(launcher_to_be_killed(1), &status, 0), 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

// Who reads the output of the one that left hears its end at once, not when the parent ends.
TEST(Process, NothingIsKeptOpenUntilThen) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(pipe(ends), 0);
  const pid_t launcher = launcher_to_be_killed(20, ends[1]);
  close(ends[1]);
  char byte = 0;
  EXPECT_EQ(read(ends[0], &byte, 1), 0);
  EXPECT_EQ(waitpid(launcher, nullptr, WNOHANG), 0);
  kill(launcher, SIGKILL);
  waitpid(launcher, nullptr, 0);
  close(ends[0]);
}

}  // namespace
}  // namespace tessera
