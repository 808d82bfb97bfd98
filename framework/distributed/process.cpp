#include "framework/distributed/process.h"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace tessera {

Process process(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');  // the name may hold spaces and parentheses
  if (name_end == std::string::npos) return {};
  std::istringstream fields(text.substr(name_end + 1));
  constexpr int kBetween = 17;  // fields between the parent (4) and the start time (22)
  Process found;
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

}  // namespace tessera
