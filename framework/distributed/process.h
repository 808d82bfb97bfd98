// Processes of this machine as the kernel lists them in /proc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

namespace tessera {

struct Process {
  std::string name = {};
  char state = '-';  ///< a letter of ps: R, S, D, T (stopped), Z (dead, not yet waited for)…; '-': there is none
  pid_t parent = 0;
  int64_t started = 0;  ///< in clock ticks after the boot: tells apart two processes that had the same pid

  bool is_gone() const { return state == '-' || state == 'Z' || state == 'X'; }
};

Process process(pid_t pid);

/// The processes whose parent is `parent`.
std::vector<pid_t> children_of(pid_t parent);

/// Kills the process that started this one unless it has ended within `seconds`, also when this one has. Returns at
/// once.
void kill_parent_later(int seconds);

}  // namespace tessera
