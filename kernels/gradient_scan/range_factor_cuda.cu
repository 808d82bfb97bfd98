#include "kernels/common/cuda/launch.cuh"
#include "kernels/gradient_scan/range_factor.h"

namespace tessera {
namespace {

__global__ void range_factor_kernel(const ScanResult* scan, int64_t n, float* factors) {
  if (thread_index() != 0) return;
  const double exponent = range_exponent(scan->squared_norm, n);
  factors[0] = static_cast<float>(exp2(exponent));
  factors[1] = static_cast<float>(exp2(-exponent));
}

}  // namespace

void RangeFactor::operator()(Cuda cuda) const {
  launch_grid("range_factor", range_factor_kernel, cuda, {.threads = 32}, scan, n, factors);
}

}  // namespace tessera
