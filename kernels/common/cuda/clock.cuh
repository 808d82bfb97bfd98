// The word for time, for the few kernels that tell it. It stands apart from the others (words.cuh): no two runs of it
// give the same.
#pragma once

#include "kernels/common/cuda/words.cuh"

#ifdef TESSERA_SIMT
#include <chrono>
namespace tessera::device_time {
using namespace std::chrono;
using Clock = steady_clock;
}  // namespace tessera::device_time
#else
#include <cuda/std/chrono>
namespace tessera::device_time {
using namespace cuda::std::chrono;
using Clock = system_clock;  // PTX's globaltimer
}  // namespace tessera::device_time
#endif

namespace tessera {

/// Nanoseconds of a clock that all multiprocessors share; only differences mean anything.
__device__ inline int64_t clock_nanoseconds() {
  return device_time::nanoseconds(device_time::Clock::now().time_since_epoch()).count();
}

}  // namespace tessera
