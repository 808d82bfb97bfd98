#include "kernels/common/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

namespace tessera {
namespace {

/// So many threads in this scope, however many the machine has.
class Threads {
 public:
  explicit Threads(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~Threads() { omp_set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

TEST(Parallel, EveryElementIsVisitedOnce) {
  for (const int threads : {1, 2, 3, 7, 100}) {
    const Threads scope(threads);
    for (const int64_t n : {0, 1, 9, 10, 11, 1000}) {
      std::vector<int> visits(static_cast<size_t>(n));
      parallel_chunks(n, 10, [&](int64_t begin, int64_t end) {
        EXPECT_EQ(begin % 10, 0);
        EXPECT_EQ(end, std::min(n, begin + 10));
        for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      });
      EXPECT_EQ(visits, std::vector<int>(static_cast<size_t>(n), 1)) << threads << " threads";
    }
  }
}

TEST(Parallel, OthersFinishTheShareOfASlowThread) {
  const Threads scope(2);
  constexpr int64_t kChunks = 8;
  std::atomic<int64_t> others = 0;
  parallel_for(kChunks, 1, [&](int64_t i) {
    if (i != 0) {
      ++others;
      return;
    }
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (others < kChunks - 1 && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
    EXPECT_EQ(others.load(), kChunks - 1) << "the chunks behind a slow one waited for it";
  });
}

}  // namespace
}  // namespace tessera
