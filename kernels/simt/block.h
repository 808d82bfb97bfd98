// One block of threads of a kernel on the CPU. A thread is a fiber of the calling OS thread; fibers never migrate.
// Threads run until they meet a barrier or a warp-wide word; threads that never wait share one fiber. The block notices
// what real hardware leaves undefined: waiting for somebody who has left, threads that meet at different words, bad
// shared addresses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "kernels/common/error.h"
#include "kernels/simt/policy.h"
#include "kernels/simt/races.h"
#include "kernels/simt/traffic.h"
#include "kernels/simt/where.h"

namespace tessera::simt {

struct Index3 {
  int x = 1, y = 1, z = 1;
};

class Block;

/// What the running fiber may ask about itself.
struct Current {
  int thread = 0;
  int threads = 0;
  Index3 block{0, 0, 0}, grid{};
  Block* owner = nullptr;
};
inline thread_local constinit Current current{};

/// What the lanes of a warp bring to a collective word: one address per lane.
using Operands = std::array<void*, 32>;

/// An asynchronous copy to shared memory that was issued and not yet delivered.
struct PendingCopy {
  std::byte* to;
  const std::byte* from;
  int bytes;  ///< of 16; the rest becomes zero
  int group;
};

class Block {
 public:
  /// Runs `body` once per thread.
  void run(int threads, size_t shared_bytes, const std::function<void()>& body);

  // Words. All throw `Error` with the place where they were used.
  void sync(int barrier, int count, Where where, bool arrives_only = false);
  /// __syncthreads_or.
  bool sync_or(bool value, Where where);
  void sync_warp(Where where);
  /// Waits for all lanes of the warp; the last one runs `work` for them.
  void collective(const char* name, void* mine, void (*work)(Operands&, int lanes), Where where);

  void copy_async(void* to, const void* from, int bytes, Where where);
  void commit_copies();
  void wait_copies(int groups_left);

  /// The running thread loads or stores; `site` is the instruction.
  void sees_access(const void* address, size_t bytes, bool writes, Access access, uintptr_t site);
  /// A plain load or store of instrumented code: must lie in shared memory or in one allocation, aligned.
  void check_plain(const void* address, size_t bytes, bool writes, size_t alignment);
  /// "thread 3 came from sync_threads at file:line".
  std::string progress_of(int thread) const;

  std::byte* shared() { return shared_begin_; }
  /// Fails unless [address, address + bytes) lies in shared memory and starts at a multiple of `alignment`.
  void check_shared(const void* address, size_t bytes, size_t alignment, const char* word, Where where) const;

 private:
  enum class State : uint8_t { unstarted, ready, waiting, finished };
  struct Thread {
    State state = State::unstarted;
    void* context = nullptr;  // of its fiber, while it waits
    int fiber = -1;
    const char* word = "";
    Where where{"", 0};
    std::vector<PendingCopy> copies;
    std::vector<PendingCopy> unwaited;  // for the race checker: those that no wait has covered, delivered or not
    int group = 0;
    bool result = false;
  };
  struct Barrier {
    int arrived = 0, count = 0;
    bool any = false;
    Where where{"", 0};
    std::vector<int> waiting;
    Clock clock;
  };
  struct Warp {
    Operands operands{};
    int arrived = 0;
    const char* name = "";
    Where where{"", 0};
    Clock clock;
  };

  void prepare_memory(size_t shared_bytes);
  int next_thread();
  void wait(const char* word, Where where);
  void resume(int thread);
  void make_ready(int thread);
  void fiber_main();
  void leave(std::exception_ptr error);
  void deliver(Thread& thread, const PendingCopy& copy);
  void deliver_at_random();
  bool complete(Barrier& barrier, bool arrives_only);
  void join_warp(int lanes);
  [[noreturn]] void deadlock() const;
  int lanes_of(int warp) const { return std::min(32, threads_ - warp * 32); }

  const std::function<void()>* body_ = nullptr;
  int threads_ = 0;
  int unstarted_ = 0;  // the next thread that has not begun
  int running_ = 0;
  std::vector<int> ready_;
  std::vector<Thread> all_;
  std::vector<Warp> warps_;
  std::array<Barrier, 16> barriers_;
  std::vector<std::byte> memory_;
  std::byte* shared_begin_ = nullptr;
  size_t shared_bytes_ = 0;
  void* main_context_ = nullptr;
  std::vector<int> free_fibers_;
  int fibers_ = 0;
  std::exception_ptr error_;
  uint32_t random_ = 1;
  Races races_;
  TrafficCounter traffic_;
};

/// The block that this OS thread runs; it is re-used from launch to launch.
Block& this_block();

}  // namespace tessera::simt
