#include <algorithm>

#include "kernels/common/error.h"
#include "kernels/simt/block.h"
#include "kernels/simt/races.h"

namespace tessera::simt {
namespace {

bool instrumented = false;

}  // namespace

bool races_are_checked() { return instrumented; }

void Races::begin(int threads, const std::byte* shared, size_t shared_bytes) {
  begin_ = shared;
  bytes_ = shared_bytes;
  warps_ = (threads + 31) / 32;
  start_ = ++last_;
  if (writes_.size() < shared_bytes) {
    writes_.assign(shared_bytes, {});
    reads_.assign(shared_bytes * 32, {});
  }
  clocks_.assign(threads, Clock(threads, start_ - 1));
  for (int thread = 0; thread < threads; ++thread) clocks_[thread][thread] = start_;
  found_.clear();
}

std::ptrdiff_t Races::index_of(const void* address, size_t bytes) const {
  const auto* at = static_cast<const std::byte*>(address);
  return at >= begin_ && at + bytes <= begin_ + bytes_ ? at - begin_ : -1;
}

void Races::read(int thread, const void* address, size_t bytes) {
  const std::ptrdiff_t first = index_of(address, bytes);
  if (first < 0) return;
  const uint32_t now = clocks_[thread][thread], lane = 1u << (thread % 32);
  for (size_t at = static_cast<size_t>(first); at < static_cast<size_t>(first) + bytes; ++at) {
    check_write(thread, at, "reads");
    Reads& reads = reads_[static_cast<size_t>(thread / 32) * writes_.size() + at];
    if (reads.time == now) reads.lanes |= lane;
    else reads = {now, lane};
  }
}

void Races::write(int thread, const void* address, size_t bytes) {
  const std::ptrdiff_t first = index_of(address, bytes);
  if (first < 0) return;
  for (size_t at = static_cast<size_t>(first); at < static_cast<size_t>(first) + bytes; ++at) {
    check_write(thread, at, "writes");
    check_reads(thread, at, "writes");
    writes_[at] = {clocks_[thread][thread], static_cast<uint16_t>(thread), false};
  }
}

void Races::copy_begins(int thread, const void* to) {
  write(thread, to, 16);
  const std::ptrdiff_t first = index_of(to, 16);
  for (std::ptrdiff_t at = first; first >= 0 && at < first + 16; ++at)
    writes_[static_cast<size_t>(at)].in_flight = true;
}

void Races::copy_ends(int thread, const void* to) {
  const std::ptrdiff_t first = index_of(to, 16);
  for (std::ptrdiff_t at = first; first >= 0 && at < first + 16; ++at) {
    Write& write = writes_[static_cast<size_t>(at)];
    if (write.thread == thread && write.in_flight) write = {clocks_[thread][thread], write.thread, false};
  }
}

void Races::release(int thread, Clock& clock) {
  Clock& mine = clocks_[thread];
  clock.resize(mine.size());
  for (size_t i = 0; i < mine.size(); ++i) clock[i] = std::max(clock[i], mine[i]);
  last_ = std::max(last_, ++mine[static_cast<size_t>(thread)]);
}

void Races::acquire(int thread, const Clock& clock) {
  Clock& mine = clocks_[thread];
  for (size_t i = 0; i < clock.size(); ++i) mine[i] = std::max(mine[i], clock[i]);
}

void Races::check_write(int thread, size_t at, const char* verb) {
  const Write& last = writes_[at];
  if (last.time < start_) return;
  if (last.in_flight) report(thread, verb, at, last.thread, "is copying to without having waited");
  else if (last.thread != thread && !knows(thread, last.thread, last.time))
    report(thread, verb, at, last.thread, "has written with no barrier between");
}

void Races::check_reads(int thread, size_t at, const char* verb) {
  for (int warp = 0; warp < warps_; ++warp) {
    const Reads& reads = reads_[static_cast<size_t>(warp) * writes_.size() + at];
    if (reads.time < start_) continue;
    for (int lane = 0; lane < 32; ++lane) {
      const int other = warp * 32 + lane;
      if ((reads.lanes >> lane & 1) != 0 && other != thread && !knows(thread, other, reads.time))
        return report(thread, verb, at, other, "has read with no barrier between");
    }
  }
}

void Races::report(int thread, const char* verb, size_t at, int other, const char* deed) {
  if (!found_.empty()) return;
  found_ = format_message(
      "thread {} {} byte {} of shared memory, which thread {} {}; {}; {}",
      {thread, verb, at, other, deed, current.owner->progress_of(thread), current.owner->progress_of(other)});
}

namespace {

/// Inlined into the functions below, so that the return address is the kernel's. `alignment`: what the type promises.
[[gnu::always_inline]] inline void sees(const void* address, size_t bytes, bool writes, size_t alignment) {
  if (current.owner == nullptr) return;
  current.owner->check_plain(address, bytes, writes, alignment);
  current.owner->sees_access(address, bytes, writes, Access::plain,
                             reinterpret_cast<uintptr_t>(__builtin_return_address(0)));
}

}  // namespace
}  // namespace tessera::simt

// What code that was compiled with -fsanitize=thread calls, by the names that GCC and Clang give.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
void __tsan_init() { tessera::simt::instrumented = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read1(void* at) { tessera::simt::sees(at, 1, false, 1); }
void __tsan_read2(void* at) { tessera::simt::sees(at, 2, false, 2); }
void __tsan_read4(void* at) { tessera::simt::sees(at, 4, false, 4); }
void __tsan_read8(void* at) { tessera::simt::sees(at, 8, false, 8); }
void __tsan_read16(void* at) { tessera::simt::sees(at, 16, false, 16); }
void __tsan_write1(void* at) { tessera::simt::sees(at, 1, true, 1); }
void __tsan_write2(void* at) { tessera::simt::sees(at, 2, true, 2); }
void __tsan_write4(void* at) { tessera::simt::sees(at, 4, true, 4); }
void __tsan_write8(void* at) { tessera::simt::sees(at, 8, true, 8); }
void __tsan_write16(void* at) { tessera::simt::sees(at, 16, true, 16); }
void __tsan_unaligned_read2(void* at) { tessera::simt::sees(at, 2, false, 1); }
void __tsan_unaligned_read4(void* at) { tessera::simt::sees(at, 4, false, 1); }
void __tsan_unaligned_read8(void* at) { tessera::simt::sees(at, 8, false, 1); }
void __tsan_unaligned_read16(void* at) { tessera::simt::sees(at, 16, false, 1); }
void __tsan_unaligned_write2(void* at) { tessera::simt::sees(at, 2, true, 1); }
void __tsan_unaligned_write4(void* at) { tessera::simt::sees(at, 4, true, 1); }
void __tsan_unaligned_write8(void* at) { tessera::simt::sees(at, 8, true, 1); }
void __tsan_unaligned_write16(void* at) { tessera::simt::sees(at, 16, true, 1); }
void __tsan_read_range(void* at, unsigned long bytes) { tessera::simt::sees(at, bytes, false, 1); }
void __tsan_write_range(void* at, unsigned long bytes) { tessera::simt::sees(at, bytes, true, 1); }
}
// NOLINTEND(bugprone-reserved-identifier)
