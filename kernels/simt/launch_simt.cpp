#include <mutex>

#include "kernels/simt/launch.h"

namespace tessera::simt {

void run_grid(Index3 grid, int threads, size_t shared_bytes, const std::function<void()>& body) {
  expect(threads > 0 && threads <= 1024 && threads % 32 == 0, "simt: a block of {} threads", threads);
  expect(shared_bytes <= shared_memory_limit(), "simt: a block of {} bytes of shared memory", shared_bytes);
  expect(grid.y <= 65535 && grid.z <= 65535, "simt: a grid of {} × {} × {} blocks", grid.x, grid.y, grid.z);
  const int64_t blocks = int64_t{grid.x} * grid.y * grid.z;
  std::exception_ptr error;
  std::mutex mutex;
#pragma omp parallel for schedule(dynamic) if (blocks > 1)
  for (int64_t n = 0; n < blocks; ++n) {
    const int64_t i = policy().delivery == Delivery::newest_first ? blocks - 1 - n : n;  // no order is promised
    current.grid = grid;
    current.block = {static_cast<int>(i % grid.x), static_cast<int>(i / grid.x % grid.y),
                     static_cast<int>(i / grid.x / grid.y)};
    try {
      this_block().run(threads, shared_bytes, body);
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

void check_device(const char* work, Cuda cuda) {
  int current = 0;
  cudaGetDevice(&current);
  const auto* stream = static_cast<const SimtStream*>(cuda.stream);
  const int owner = stream == nullptr ? current : stream->device;
  expect(owner == cuda.device && current == cuda.device,
         "{}: work for cuda:{} was given to a stream of cuda:{} while the thread's device was cuda:{}", work,
         cuda.device, owner, current);
}

}  // namespace tessera::simt
