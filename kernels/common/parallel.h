// Parallel loops on the CPU. Work is cut into chunks whose borders depend only on the arguments, never on the number of
// threads, so per-chunk results (partial sums) are the same at any thread count, whoever computes them.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include <omp.h>

namespace tessera {

/// The numbers 0 … count − 1, shared out to a team of threads. Each has a range of its own, so that loops over the same
/// rows find them in the same caches; one that is done helps the others, so that nobody waits for a slow core.
class Shares {
 public:
  Shares(int64_t count, int threads) : count_(count), ranges_(std::min(threads, kMostRanges)) {
    for (int range = 0; range < ranges_; ++range) next_[range].number = begin(range);
  }

  /// A number that nobody has taken yet; negative when none are left.
  int64_t take(int thread) {
    for (int i = 0; i < ranges_; ++i) {
      const int range = (thread + i) % ranges_;
      std::atomic<int64_t>& next = next_[range].number;
      if (next.load(std::memory_order_relaxed) >= begin(range + 1)) continue;
      const int64_t number = next.fetch_add(1, std::memory_order_relaxed);
      if (number < begin(range + 1)) return number;
    }
    return -1;
  }

 private:
  static constexpr int kMostRanges = 32;  // more threads than that share them
  struct alignas(64) Next {
    std::atomic<int64_t> number;
  };

  int64_t begin(int range) const { return count_ * range / ranges_; }

  int64_t count_;
  int ranges_;
  std::array<Next, kMostRanges> next_;
};

/// Calls `body(begin, end)` for the chunks [0, grain), [grain, 2·grain), … of [0, n), spread over the OpenMP team.
template <class Body>
void parallel_chunks(int64_t n, int64_t grain, Body&& body) {
  const int64_t chunks = (n + grain - 1) / grain;
  if (chunks <= 1) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
  Shares shares(chunks, omp_get_max_threads());
#pragma omp parallel
  for (int64_t c; (c = shares.take(omp_get_thread_num())) >= 0;) body(c * grain, std::min(n, (c + 1) * grain));
}

/// Calls `body(i)` for each i of [0, n), `grain` neighbours at a time on one thread.
template <class Body>
void parallel_for(int64_t n, int64_t grain, Body&& body) {
  parallel_chunks(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

/// Elements per chunk that make a memory-bound loop worth a second thread.
inline constexpr int64_t kElementGrain = 16384;

/// Rows per chunk for row-wise loops over rows of `width` elements.
inline int64_t row_grain(int64_t width) { return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, width)); }

/// *status = max(*status, value), from any thread.
inline void raise_status(int32_t* status, int32_t value) {
  std::atomic_ref<int32_t> shared(*status);
  int32_t seen = shared.load();
  while (seen < value && !shared.compare_exchange_weak(seen, value)) {
  }
}

}  // namespace tessera
