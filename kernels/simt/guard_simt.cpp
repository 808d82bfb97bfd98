#include <csignal>
#include <cstdlib>
#include <mutex>
#include <string_view>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "kernels/simt/device_memory.h"
#include "kernels/simt/guard.h"

namespace tessera::simt {
namespace {

struct Range {
  void* begin;
  size_t bytes;
};

std::mutex mutex;
std::vector<Range>& ranges() {
  static std::vector<Range> all;
  return all;
}
int working = 0;

bool is_wanted() {
  static const bool wanted = [] {
    const char* text = std::getenv("TESSERA_SIMT_GUARD");
    return text != nullptr && std::string_view(text) == "1";
  }();
  return wanted;
}

void allow_all(int protection) {
  for (const Range& range : ranges()) mprotect(range.begin, range.bytes, protection);
}

void explain(int, siginfo_t* info, void*) {
  constexpr std::string_view kWhy = "simt: host code touched device memory; copy it to the host first\n";
  if (device_of(info->si_addr) >= 0) {
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kWhy.data(), kWhy.size());
  }
  std::signal(SIGSEGV, SIG_DFL);  // the same access fails again
}

}  // namespace

void guard(void* begin, size_t bytes) {
  if (!is_wanted()) return;
  const std::scoped_lock lock(mutex);
  struct sigaction action {};
  action.sa_sigaction = explain;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
  ranges().push_back({begin, bytes});
  if (working == 0) mprotect(begin, bytes, PROT_NONE);
}

DeviceWork::DeviceWork() {
  if (!is_wanted()) return;
  const std::scoped_lock lock(mutex);
  if (working++ == 0) allow_all(PROT_READ | PROT_WRITE);
}

DeviceWork::~DeviceWork() {
  if (!is_wanted()) return;
  const std::scoped_lock lock(mutex);
  if (--working == 0) allow_all(PROT_NONE);
}

}  // namespace tessera::simt
