#include <algorithm>
#include <cmath>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/reduce/arg_max.h"

namespace tessera {
namespace {

template <class T>
int64_t arg_max(const In<2>& x, int64_t r) {
  T buffer[kRun];
  T best = 0;
  int64_t index = -1;
  for (int64_t i = 0; i < x.shape[1]; i += kRun) {
    const int64_t n = std::min(kRun, x.shape[1] - i);
    const T* run = load_run(x, r * x.strides[0] + i, n, buffer);
    for (int64_t k = 0; k < n; ++k) {
      const bool larger = run[k] > best || (std::isnan(run[k]) && !std::isnan(best));
      if (index >= 0 && !larger) continue;
      best = run[k];
      index = i + k;
    }
  }
  return index;
}

}  // namespace

void ArgMax::operator()(Cpu) const {
  select_compute(
      [&]<class T>() {
        parallel_for(x.shape[0], row_grain(x.shape[1]), [&](int64_t r) {
          index.as<int32_t>()[r * index.strides[0]] = static_cast<int32_t>(arg_max<T>(x, r));
        });
      },
      x.dtype);
}

}  // namespace tessera
