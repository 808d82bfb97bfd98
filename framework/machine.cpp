#include "framework/machine.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include <sys/resource.h>

namespace tessera {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// The number behind the word `name` in a file of such pairs. Nothing there: no limit.
int64_t number_after(const char* path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  int64_t number = 0;
  while (file >> word) {
    if (word == name && file >> number) return number;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return kNoLimit;
}

// The number that a file begins with; "max" is no limit.
int64_t number_in(const char* path) {
  std::ifstream file(path);
  int64_t number = 0;
  return file >> number ? number : kNoLimit;
}

}  // namespace

int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

int64_t available_memory_bytes() {
  const int64_t kib = number_after("/proc/meminfo", "MemAvailable:");
  const int64_t free = kib == kNoLimit ? kNoLimit : kib * 1024;
  const int64_t limit = number_in("/sys/fs/cgroup/memory.max");
  if (limit == kNoLimit) return free;
  // Cached files count towards the limit, but make room.
  return std::min(free, limit - std::min(limit, number_after("/sys/fs/cgroup/memory.stat", "anon")));
}

}  // namespace tessera
