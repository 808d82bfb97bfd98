#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/common/philox.h"
#include "kernels/common/rows.h"
#include "kernels/dropout/dropout.h"

namespace tessera {
namespace {

// The words of `groups` counters: words[4·j + k] decides column 4·(group + j) + k of the row.
void random_words(uint64_t key, uint64_t row, int64_t group, int64_t groups, uint32_t* words) {
  const uint32_t low = static_cast<uint32_t>(row), high = static_cast<uint32_t>(row >> 32);
#pragma omp simd
  for (int64_t j = 0; j < groups; ++j) {
    const Words four = philox(key, {low, high, static_cast<uint32_t>(group + j), 0});
    words[4 * j] = four.x;
    words[4 * j + 1] = four.y;
    words[4 * j + 2] = four.z;
    words[4 * j + 3] = four.w;
  }
}

template <class T>
void run_row(const Dropout& op, uint32_t threshold, T factor, int64_t r) {
  const int64_t width = op.x.shape[1];
  T x_buffer[kRun], residual_buffer[kRun], y_buffer[kRun];
  uint32_t words[kRun];
  for (int64_t i = 0; i < width; i += kRun) {
    const int64_t n = std::min(kRun, width - i), at = r * op.y.strides[0] + i;
    random_words(op.key, static_cast<uint64_t>(op.first_row + r), i / 4, (n + 3) / 4, words);
    const T* x = load_run(op.x, r * op.x.strides[0] + i, n, x_buffer);
    T* y = target_run(op.y, at, y_buffer);
    if (op.residual) {
      const T* residual = load_run(op.residual, r * op.residual.strides[0] + i, n, residual_buffer);
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) y[k] = residual[k] + (words[k] >= threshold ? x[k] * factor : T{0});
    } else {
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) y[k] = words[k] >= threshold ? x[k] * factor : T{0};
    }
    store_run(y, op.y, at, n);
  }
}

}  // namespace

void Dropout::operator()(Cpu) const {
  select_compute(
      [&]<class T>() {
        const T factor = T{1} / (T{1} - static_cast<T>(p));
        const uint32_t threshold = dropout_threshold(p);
        parallel_for(x.shape[0], row_grain(x.shape[1]), [&](int64_t r) { run_row(*this, threshold, factor, r); });
      },
      x.dtype, y.dtype);
}

}  // namespace tessera
