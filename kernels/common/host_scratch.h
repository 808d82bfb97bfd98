// Memory for one call of a kernel on the CPU. As on a GPU, the framework's allocator provides it, which keeps it for
// the next call: pages fresh from the system, which clears each when it is first touched, would cost a short call more
// than its arithmetic.
#pragma once

#include <cstddef>

namespace tessera {

/// Where scratch memory comes from and goes to: blocks that start at a multiple of 64 bytes. `take` returns no null but
/// throws an Error, and may be called by any thread.
struct HostScratchSource {
  void* (*take)(size_t bytes);
  void (*give_back)(void* block, size_t bytes) noexcept;
};

/// The framework installs its allocator with this; before, memory comes from the system.
void set_host_scratch_source(HostScratchSource wanted);

class HostScratch {
 public:
  explicit HostScratch(size_t bytes);
  ~HostScratch();
  HostScratch(const HostScratch&) = delete;
  HostScratch& operator=(const HostScratch&) = delete;

  std::byte* data() const { return block_; }

 private:
  HostScratchSource source_;
  size_t bytes_;
  std::byte* block_;
};

}  // namespace tessera
