#include "kernels/clock/clock.h"
#include "kernels/common/cuda/clock.cuh"
#include "kernels/common/cuda/launch.cuh"

namespace tessera {
namespace {

constexpr int kThreads = 32;

__global__ void note_kernel(int64_t* moment) {
  if (thread_index() == 0) *moment = clock_nanoseconds();
}

__global__ void add_kernel(const int64_t* moment, int64_t* total) {
  if (thread_index() == 0) *total += clock_nanoseconds() - *moment;
}

}  // namespace

void NoteTime::operator()(Cuda cuda) const {
  launch_grid("note_time", note_kernel, cuda, {.threads = kThreads}, moment);
}

void AddTimeSince::operator()(Cuda cuda) const {
  launch_grid("add_time_since", add_kernel, cuda, {.threads = kThreads}, moment, total);
}

}  // namespace tessera
