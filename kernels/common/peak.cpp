// The multiply-add peak: twelve independent chains per thread, enough to hide the latency of the two multiply-add units
// and few enough for sixteen registers.
#include "kernels/common/peak.h"

#include <algorithm>

#include <omp.h>

#include "kernels/common/simd.h"

namespace tessera {
namespace {

constexpr int kChains = 12;

/// Runs `steps` multiply-adds a·x + y on each chain. The chains start at different values, are summed, and this
/// function is opaque to its caller, so that the compiler neither merges, drops nor hoists them.
[[gnu::noipa]] float multiply_add_chains(int64_t steps, float multiplier, float summand) {
  using V = simd::Vector<float>;
  const V x = simd::broadcast(multiplier), y = simd::broadcast(summand);
  V a0 = x, a1 = x + 1, a2 = x + 2, a3 = x + 3, a4 = x + 4, a5 = x + 5;
  V a6 = x + 6, a7 = x + 7, a8 = x + 8, a9 = x + 9, a10 = x + 10, a11 = x + 11;
  for (int64_t i = 0; i < steps; ++i) {
    a0 = a0 * x + y, a1 = a1 * x + y, a2 = a2 * x + y, a3 = a3 * x + y, a4 = a4 * x + y, a5 = a5 * x + y;
    a6 = a6 * x + y, a7 = a7 * x + y, a8 = a8 * x + y, a9 = a9 * x + y, a10 = a10 * x + y, a11 = a11 * x + y;
  }
  const V sum = ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7)) + ((a8 + a9) + (a10 + a11));
  return sum[0];
}

}  // namespace

double measured_fma_peak_gflops(int threads) {
  constexpr int64_t kSteps = 400'000;  // about 1.3 ms
  constexpr int kRounds = 20;
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    double begin = 0, end = 0;
#pragma omp parallel num_threads(threads)
    {
#pragma omp barrier
#pragma omp master
      begin = omp_get_wtime();
      multiply_add_chains(kSteps, 0.999f, 1e-3f);
#pragma omp barrier
#pragma omp master
      end = omp_get_wtime();
    }
    best = std::max(best, 2.0 * simd::kLanes<float> * kChains * kSteps * threads / (end - begin) * 1e-9);
  }
  return best;
}

}  // namespace tessera
