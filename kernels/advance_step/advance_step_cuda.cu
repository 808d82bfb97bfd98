#include "kernels/advance_step/advance_step.h"
#include "kernels/common/cuda/launch.cuh"

namespace tessera {
namespace {

__global__ void advance_kernel(const ScanResult* scan, StepPolicy policy, StepState* state) {
  if (thread_index() == 0) advance_step(*state, *scan, policy);
}

}  // namespace

void AdvanceStep::operator()(Cuda cuda) const {
  launch_grid("advance_step", advance_kernel, cuda, {.threads = 32}, scan, policy, state);
}

}  // namespace tessera
