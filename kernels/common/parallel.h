// Parallel loops on the CPU. Work is cut into chunks whose borders depend only on the arguments, never on the number of
// threads, so per-chunk results (partial sums) are the same at any thread count.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace tessera {

/// Calls `body(begin, end)` for the chunks [0, grain), [grain, 2·grain), … of [0, n), spread over the OpenMP team.
template <class Body>
void parallel_chunks(int64_t n, int64_t grain, Body&& body) {
  const int64_t chunks = (n + grain - 1) / grain;
  if (chunks <= 1) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < chunks; ++c) body(c * grain, std::min(n, (c + 1) * grain));
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
