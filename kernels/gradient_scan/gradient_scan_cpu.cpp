// The sum of squares in double, in an order that depends on the number of elements alone: a chunk has 32 running sums,
// so the loop vectorises without reordering, and the sums of the chunks are added up one after the other.
#include <array>
#include <cmath>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/common/select.h"
#include "kernels/gradient_scan/gradient_scan.h"

namespace tessera {
namespace {

constexpr int64_t kLanes = 32;
constexpr int64_t kMaxChunks = 256;

template <class T>
double sum_of_squares(const T* x, int64_t n) {
  std::array<double, kLanes> sums{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = x[i + lane];
      sums[lane] += value * value;
    }
  }
  for (int64_t lane = 0; i < n; ++i, ++lane) sums[lane] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

template <class T>
bool all_finite(const T* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(x[i])) return false;
  }
  return true;
}

struct Partial {
  double sum = 0;
  bool finite = true;
};

template <class T>
Partial scan(const In<1>& gradient, int64_t begin, int64_t end) {
  T buffer[kRun];
  Partial partial;
  const int64_t run = gradient.dtype == dtype_of<T>() ? end - begin : kRun;
  for (int64_t i = begin; i < end; i += run) {
    const int64_t n = std::min(run, end - i);
    const T* values = load_run(gradient, i, n, buffer);
    const double sum = sum_of_squares(values, n);
    partial.sum += sum;
    // A finite sum has finite terms. An infinite one of f64 may have, too: only then are the elements asked.
    if (!std::isfinite(sum)) [[unlikely]]
      partial.finite = partial.finite && all_finite(values, n);
  }
  return partial;
}

}  // namespace

void GradientScan::operator()(Cpu) const {
  const int64_t n = gradient.shape[0];
  const int64_t even = (n + kMaxChunks - 1) / kMaxChunks;
  const int64_t grain = std::max(kElementGrain, (even + kRun - 1) / kRun * kRun);
  std::array<Partial, kMaxChunks> partials;
  select_compute(
      [&]<class T>() {
        parallel_chunks(n, grain,
                        [&](int64_t begin, int64_t end) { partials[begin / grain] = scan<T>(gradient, begin, end); });
      },
      gradient.dtype);
  for (const Partial& partial : partials) {
    result->squared_norm += partial.sum;
    if (!partial.finite) result->finite = 0;
  }
}

}  // namespace tessera
