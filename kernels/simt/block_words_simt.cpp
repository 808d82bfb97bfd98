// What the words do to a block: barriers, warp-wide words, asynchronous copies, and the checks of addresses.
#include <algorithm>
#include <cstring>
#include <string_view>

#include "kernels/simt/block.h"
#include "kernels/simt/runtime.h"

namespace tessera::simt {

uintptr_t site_of(const Where& where) {
  return reinterpret_cast<uintptr_t>(where.file) + (static_cast<uintptr_t>(where.line) << 48);
}
std::string to_string(const Where& where) { return std::string(where.file) + ":" + std::to_string(where.line); }

bool Block::complete(Barrier& barrier, bool arrives_only) {
  if (races_are_checked()) races_.release(running_, barrier.clock);
  if (barrier.arrived < barrier.count) return false;
  for (const int thread : barrier.waiting) {
    if (races_are_checked()) races_.acquire(thread, barrier.clock);
    all_[thread].result = barrier.any;
    make_ready(thread);
  }
  if (races_are_checked() && !arrives_only) races_.acquire(running_, barrier.clock);
  all_[running_].result = barrier.any;
  barrier = {};
  return true;
}

void Block::sync(int id, int count, Where where, bool arrives_only) {
  const char* word = id == 0 ? "sync_threads" : "barrier_sync";
  expect(id >= 0 && id < 16 && count > 0 && count % 32 == 0, "{}: barrier {} for {} threads at {}", word, id, count,
         where);
  Barrier& barrier = barriers_[id];
  if (barrier.arrived == 0) {
    barrier.count = count;
    barrier.where = where;
  }
  expect(barrier.count == count, "{}: barrier {} is awaited for {} threads at {} and for {} at {}", word, id, count,
         where, barrier.count, barrier.where);
  expect(id != 0 || barrier.where == where, "sync_threads: thread {} is at {}, others are at {}", running_, where,
         barrier.where);
  ++barrier.arrived;
  all_[running_].word = word, all_[running_].where = where;
  if (complete(barrier, arrives_only) || arrives_only) return;
  barrier.waiting.push_back(running_);
  wait(word, where);
}

bool Block::sync_or(bool value, Where where) {
  barriers_[0].any = barriers_[0].any || value;
  sync(0, threads_, where);
  return all_[running_].result;
}

void Block::sync_warp(Where where) {
  if (races_are_checked()) races_.release(running_, warps_[running_ / 32].clock);
  collective(
      "sync_warp", nullptr, [](Operands&, int lanes) { current.owner->join_warp(lanes); }, where);
}

void Block::join_warp(int lanes) {
  if (!races_are_checked()) return;
  Warp& warp = warps_[running_ / 32];
  for (int lane = 0; lane < lanes; ++lane) races_.acquire(running_ / 32 * 32 + lane, warp.clock);
  warp.clock.clear();
}

void Block::collective(const char* name, void* mine, void (*work)(Operands&, int), Where where) {
  const int index = running_ / 32, lanes = lanes_of(index);
  Warp& warp = warps_[index];
  if (warp.arrived == 0) {
    warp.name = name;
    warp.where = where;
  }
  expect(warp.name == std::string_view(name) && warp.where == where,
         "warp {} has diverged: lane {} is at {} ({}), others are at {} ({})", index, running_ % 32, name, where,
         warp.name, warp.where);
  warp.operands[running_ % 32] = mine;
  all_[running_].word = name, all_[running_].where = where;
  if (++warp.arrived < lanes) return wait(name, where);
  work(warp.operands, lanes);
  warp.arrived = 0;
  for (int lane = 0; lane < lanes; ++lane) {
    if (index * 32 + lane != running_) make_ready(index * 32 + lane);
  }
}

void Block::deliver(Thread&, const PendingCopy& copy) {
  std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
  std::memset(copy.to + copy.bytes, 0, static_cast<size_t>(16 - copy.bytes));
}

void Block::deliver_at_random() {
  for (Thread& thread : all_) {
    random_ = random_ * 1664525u + 1013904223u;
    if (thread.copies.empty() || (random_ >> 16) % 8 != 0) continue;
    const size_t at = (random_ >> 8) % thread.copies.size();
    deliver(thread, thread.copies[at]);
    thread.copies.erase(thread.copies.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

void Block::copy_async(void* to, const void* from, int bytes, Where where) {
  check_shared(to, 16, 16, "cp_async_16", where);
  expect(bytes >= 0 && bytes <= 16, "cp_async_16: {} bytes at {}", bytes, where);
  expect(reinterpret_cast<uintptr_t>(from) % 16 == 0, "cp_async_16: the source is not aligned to 16 bytes at {}",
         where);
  Thread& thread = all_[running_];
  const PendingCopy copy{static_cast<std::byte*>(to), static_cast<const std::byte*>(from), bytes, thread.group};
  if (policy().delivery == Delivery::eager) deliver(thread, copy);
  else thread.copies.push_back(copy);
  if (TrafficCounter::is_wanted()) traffic_.note(running_, Access::cp_async, site_of(where), to, 16);
  if (!races_are_checked()) return;
  races_.copy_begins(running_, to);
  thread.unwaited.push_back(copy);
}

void Block::commit_copies() { ++all_[running_].group; }

void Block::wait_copies(int groups_left) {
  Thread& thread = all_[running_];
  const int due = thread.group - groups_left;  // groups before this one must be there
  const auto is_due = [due](const PendingCopy& copy) { return copy.group < due; };
  for (const PendingCopy& copy : thread.unwaited) {
    if (is_due(copy)) races_.copy_ends(running_, copy.to);
  }
  std::erase_if(thread.unwaited, is_due);
  auto& copies = thread.copies;
  if (policy().delivery == Delivery::newest_first) {
    for (auto copy = copies.rbegin(); copy != copies.rend(); ++copy) deliver(thread, *copy);
    copies.clear();
    return;
  }
  for (const PendingCopy& copy : copies) {
    if (is_due(copy)) deliver(thread, copy);
  }
  std::erase_if(copies, is_due);
}

void Block::check_shared(const void* address, size_t bytes, size_t alignment, const char* word, Where where) const {
  const auto* at = static_cast<const std::byte*>(address);
  expect(at >= shared_begin_ && at + bytes <= shared_begin_ + shared_bytes_,
         "{}: thread {} addresses {} bytes at offset {} of {} bytes of shared memory at {}", word, running_, bytes,
         at - shared_begin_, shared_bytes_, where);
  expect(reinterpret_cast<uintptr_t>(at) % alignment == 0,
         "{}: thread {} addresses offset {}, not a multiple of {}, at {}", word, running_, at - shared_begin_,
         alignment, where);
}

void Block::sees_access(const void* address, size_t bytes, bool writes, Access access, uintptr_t site) {
  if (races_are_checked() && writes) races_.write(running_, address, bytes);
  if (races_are_checked() && !writes) races_.read(running_, address, bytes);
  const auto* at = static_cast<const std::byte*>(address);
  if (TrafficCounter::is_wanted() && at >= shared_begin_ && at < shared_begin_ + shared_bytes_)
    traffic_.note(running_, access, site, address, bytes);
}

// Instrumented code must not be left by an exception: the launch ends in it later.
void Block::check_plain(const void* address, size_t bytes, bool writes, size_t alignment) {
  const auto* at = static_cast<const std::byte*>(address);
  const bool is_shared = at >= shared_begin_ && at < shared_begin_ + shared_bytes_;
  if (error_ || (!is_shared && device_of(address) < 0)) return;
  try {
    const char* verb = writes ? "writes" : "reads";
    expect(reinterpret_cast<uintptr_t>(address) % alignment == 0,
           "simt: thread {} {} {} bytes at an address that is not a multiple of {}; {}", running_, verb, bytes,
           alignment, progress_of(running_));
    if (is_shared) check_shared(address, bytes, 1, verb, all_[running_].where);
    else check_global(address, bytes, verb);
  } catch (...) {
    error_ = std::current_exception();
  }
}

std::string Block::progress_of(int thread) const {
  const Thread& of = all_[thread];
  const std::string name = "thread " + std::to_string(thread);
  return of.where.line == 0 ? name + " has met no word yet"
                            : name + " came from " + of.word + " at " + to_string(of.where);
}

}  // namespace tessera::simt
