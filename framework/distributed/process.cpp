#include "framework/distributed/process.h"

#include <charconv>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace tessera {

Process process(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_begin = text.find('('), name_end = text.rfind(')');  // the name may hold spaces and parentheses
  if (name_end == std::string::npos) return {};
  std::istringstream fields(text.substr(name_end + 1));
  constexpr int kBetween = 17;  // fields between the parent (4) and the start time (22)
  Process found{.name = text.substr(name_begin + 1, name_end - name_begin - 1)};
  std::string skipped;
  fields >> found.state >> found.parent;
  for (int i = 0; i < kBetween; ++i) fields >> skipped;
  fields >> found.started;
  return found;
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  std::error_code vanished;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", vanished)) {
    const std::string name = entry.path().filename().string();
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    if (process(pid).parent == parent) children.push_back(pid);
  }
  return children;
}

// A process of its own waits; it keeps nothing open, for whoever reads this one's output waits for the end of it.
void kill_parent_later(int seconds) {
  const auto parent = static_cast<int>(syscall(SYS_pidfd_open, getppid(), 0));  // stays the same where a pid may not
  if (parent >= 0 && fork() == 0) {
    setsid();
    dup2(parent, 0);
    syscall(SYS_close_range, 1, ~0u, 0);
    pollfd ended{.fd = 0, .events = POLLIN, .revents = 0};
    if (poll(&ended, 1, 1000 * seconds) == 0) syscall(SYS_pidfd_send_signal, 0, SIGKILL, nullptr, 0);
    _exit(0);
  }
  close(parent);
}

}  // namespace tessera
