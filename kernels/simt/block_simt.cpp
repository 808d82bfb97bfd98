// Who runs: fibers, and threads that wait.
#include <algorithm>
#include <cstring>

#include "kernels/simt/block.h"
#include "kernels/simt/fiber.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace tessera::simt {

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
