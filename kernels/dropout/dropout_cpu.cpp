#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/common/parallel.h"
#include "kernels/common/philox.h"
#include "kernels/common/rows.h"
#include "kernels/dropout/dropout.h"

namespace tessera {
namespace {

constexpr int64_t kDraws = 8;  // of one call of philox
static_assert(std::endian::native == std::endian::little, "lower halves of words come first");

// Of `groups` counters: draws[8·j + k] decides column 8·(group + j) + k of the row.
void draw(uint64_t key, uint64_t row, int64_t group, int64_t groups, uint16_t* draws) {
  uint32_t words[kRun / 2];
  const uint32_t low = static_cast<uint32_t>(row), high = static_cast<uint32_t>(row >> 32);
#pragma omp simd
  for (int64_t j = 0; j < groups; ++j) {
    const Words four = philox(key, {low, high, static_cast<uint32_t>(group + j), 0});
    words[4 * j] = four.x;
    words[4 * j + 1] = four.y;
    words[4 * j + 2] = four.z;
    words[4 * j + 3] = four.w;
  }
  std::memcpy(draws, words, static_cast<size_t>(groups * kDraws) * sizeof *draws);
}

template <class T>
void run_row(const Dropout& op, const DropoutRule& rule, int64_t r) {
  const int64_t width = op.x.shape[1];
  const T factor = static_cast<T>(rule.factor);
  T x_buffer[kRun], residual_buffer[kRun], y_buffer[kRun];
  uint16_t draws[kRun];
  for (int64_t i = 0; i < width; i += kRun) {
    const int64_t n = std::min(kRun, width - i), at = r * op.y.strides[0] + i;
    draw(op.key, static_cast<uint64_t>(op.first_row + r), i / kDraws, (n + kDraws - 1) / kDraws, draws);
    const T* x = load_run(op.x, r * op.x.strides[0] + i, n, x_buffer);
    T* y = target_run(op.y, at, y_buffer);
    if (op.residual) {
      const T* residual = load_run(op.residual, r * op.residual.strides[0] + i, n, residual_buffer);
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) y[k] = residual[k] + (draws[k] >= rule.threshold ? x[k] * factor : T{0});
    } else {
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) y[k] = draws[k] >= rule.threshold ? x[k] * factor : T{0};
    }
    store_run(y, op.y, at, n);
  }
}

}  // namespace

void Dropout::operator()(Cpu) const {
  select_compute(
      [&]<class T>() {
        const DropoutRule rule(p);
        parallel_for(x.shape[0], row_grain(x.shape[1]), [&](int64_t r) { run_row<T>(*this, rule, r); });
      },
      x.dtype, y.dtype);
}

}  // namespace tessera
