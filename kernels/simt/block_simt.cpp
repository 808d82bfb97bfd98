#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/simt/block.h"
#include "kernels/simt/fiber.h"
#include "kernels/simt/runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace tessera::simt {
namespace {

Policy policy_of_environment() {
  const char* text = std::getenv("TESSERA_SIMT_DELIVERY");
  const std::string name = text == nullptr ? "lazy" : text;
  if (name == "eager") return {Delivery::eager};
  if (name == "lazy") return {Delivery::lazy};
  if (name == "newest-first") return {Delivery::newest_first};
  expect(name.starts_with("random:"), "TESSERA_SIMT_DELIVERY: '{}' is none of eager, lazy, newest-first, random:SEED",
         name);
  return {Delivery::random, static_cast<uint32_t>(std::atoi(name.c_str() + 7))};
}

}  // namespace

uintptr_t site_of(const Where& where) {
  return reinterpret_cast<uintptr_t>(where.file) + (static_cast<uintptr_t>(where.line) << 48);
}
std::string to_string(const Where& where) { return std::string(where.file) + ":" + std::to_string(where.line); }

Policy& policy() {
  static Policy policy = policy_of_environment();
  return policy;
}

Block& this_block() {
  thread_local Block block;
  return block;
}

void Block::run(int threads, size_t shared_bytes, const std::function<void()>& body) {
  body_ = &body;
  threads_ = threads;
  unstarted_ = 0;
  ready_.clear();
  all_.assign(threads, {});
  warps_.assign((threads + 31) / 32, {});
  barriers_.fill({});
  prepare_memory(shared_bytes);
  free_fibers_.clear();
  fibers_ = 0;
  error_ = nullptr;
  random_ = policy().seed * 2654435761u + static_cast<uint32_t>(current.block.x * 31 + current.block.y * 17);
  current.owner = this;
  current.threads = threads;
  if (races_are_checked()) races_.begin(threads, shared_begin_, shared_bytes);
  resume(next_thread());
  current.owner = nullptr;
  if (TrafficCounter::is_wanted()) traffic_.flush();
  expect(races_.found().empty(), "simt: race in block ({}, {}, {}): {}", current.block.x, current.block.y,
         current.block.z, races_.found());
  if (error_) std::rethrow_exception(error_);
}

// Shared memory holds NaN of every floating type, or for random schedules 785 (4.3 in f16): a kernel that repairs what
// is not finite hides a NaN. Under ASan its end is an end.
void Block::prepare_memory(size_t shared_bytes) {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(memory_.data(), memory_.size());
#endif
  if (memory_.size() < shared_bytes + 2048) memory_.resize(shared_bytes + 2048);
  const auto address = reinterpret_cast<uintptr_t>(memory_.data());
  shared_begin_ = memory_.data() + ((address + 1023) / 1024 * 1024 - address);
  shared_bytes_ = shared_bytes;
  std::memset(shared_begin_, policy().delivery == Delivery::random ? 0x44 : 0xff, shared_bytes);
#if defined(__SANITIZE_ADDRESS__)
  ASAN_POISON_MEMORY_REGION(shared_begin_ + shared_bytes,
                            memory_.data() + memory_.size() - shared_begin_ - shared_bytes);
#endif
}

// A thread that has not begun, else one that may go on, else -1.
int Block::next_thread() {
  if (unstarted_ < threads_) return unstarted_++;
  if (ready_.empty()) return -1;
  size_t at = 0;
  if (policy().delivery == Delivery::newest_first) at = ready_.size() - 1;
  if (policy().delivery == Delivery::random) at = (random_ = random_ * 1664525u + 1013904223u) % ready_.size();
  const int thread = ready_[at];
  ready_[at] = ready_.back();
  ready_.pop_back();
  return thread;
}

// Leaves the running context (a thread that waits, or the launch) for `thread`.
void Block::resume(int thread) {
  void** saved = main_context_ == nullptr ? &main_context_ : &all_[running_].context;
  running_ = thread;
  Thread& next = all_[thread];
  if (next.state == State::unstarted) {
    if (free_fibers_.empty()) free_fibers_.push_back(fibers_++);
    next.fiber = free_fibers_.back();
    free_fibers_.pop_back();
    next.context = new_context(next.fiber, [] { current.owner->fiber_main(); });
  }
  next.state = State::ready;
  jump(next.context, saved, next.fiber);
}

// Runs threads on this fiber until one has to wait; a fiber whose thread has ended takes the next thread.
void Block::fiber_main() {
  for (;;) {
    const int thread = running_;
    current.thread = thread;
    std::exception_ptr error;
    try {
      (*body_)();
    } catch (...) {
      error = std::current_exception();
    }
    if (error) leave(error);
    Thread& ended = all_[thread];
    ended.state = State::finished;
    const int next = next_thread();
    if (next >= 0 && all_[next].state == State::unstarted) {
      all_[next].fiber = ended.fiber;
      all_[next].state = State::ready;
      running_ = next;
      continue;
    }
    if (next < 0) {
      const bool all_ended =
          std::all_of(all_.begin(), all_.end(), [](const Thread& t) { return t.state == State::finished; });
      try {
        if (!all_ended) deadlock();
      } catch (...) {
        error = std::current_exception();
      }
      leave(error);
    }
    free_fibers_.push_back(ended.fiber);
    running_ = next;
    jump(all_[next].context, &ended.context, all_[next].fiber);
    // Never comes back: the fiber's next user starts it anew.
  }
}

// Ends the launch. Fibers that still wait are abandoned with all that is on their stacks.
void Block::leave(std::exception_ptr error) {
  if (error) error_ = error;
  void* launch = main_context_;
  main_context_ = nullptr;
  jump(launch, &all_[running_].context, -1);
}

void Block::wait(const char* word, Where where) {
  const int me = running_;
  Thread& thread = all_[me];
  thread.state = State::waiting;
  thread.word = word;
  thread.where = where;
  if (policy().delivery == Delivery::random) deliver_at_random();
  const int next = next_thread();
  if (next < 0) deadlock();
  resume(next);
  current.thread = me;
}

void Block::make_ready(int thread) {
  all_[thread].state = State::ready;
  ready_.push_back(thread);
}

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

// Who waits where, neighbours that wait alike as one range.
void Block::deadlock() const {
  std::string report;
  for (int begin = 0; begin < threads_;) {
    const Thread& first = all_[begin];
    int end = begin + 1;
    while (end < threads_ && all_[end].state == first.state && all_[end].where == first.where) ++end;
    report +=
        (report.empty() ? "" : "; ") + std::string("threads ") + std::to_string(begin) + "-" + std::to_string(end - 1);
    report += first.state == State::finished ? " have ended"
                                             : std::string(" wait in ") + first.word + " at " + to_string(first.where);
    begin = end;
  }
  fail("simt: deadlock in block ({}, {}, {}): {}", current.block.x, current.block.y, current.block.z, report);
}

}  // namespace tessera::simt
