// Runs a grid of blocks on the CPU, the blocks spread over the OpenMP team.
#pragma once

#include <memory>
#include <tuple>

#include "kernels/common/exec.h"
#include "kernels/simt/stream.h"
#include "kernels/simt/words.h"

namespace tessera::simt {

/// Runs `body` for every thread of every block; complete on return. The first failure of any block is thrown.
void run_grid(Index3 grid, int threads, size_t shared_bytes, const std::function<void()>& body);

/// What lies between the members of an argument may be part of an old address.
template <class Arg>
void check_argument(const char* kernel, int device, Arg arg) {
  __builtin_clear_padding(std::addressof(arg));
  check_arguments(kernel, device, &arg, sizeof arg);
}

/// Fails unless the stream and the thread's current device are `cuda.device`, as CUDA demands of kernels.
void check_device(const char* work, Cuda cuda);

/// Fails unless blocks of the kernel may have `bytes` of dynamic shared memory there.
void check_shared_memory(const char* name, const void* kernel, int device, size_t bytes);

/// Gives the stream a call of the kernel with copies of the arguments, which were checked to lie on its device.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), const char* name, Cuda cuda, Index3 grid, int threads, size_t shared_bytes,
            const Args&... args) {
  check_device(name, cuda);
  check_shared_memory(name, reinterpret_cast<const void*>(kernel), cuda.device, shared_bytes);
  (check_argument(name, cuda.device, args), ...);
  enqueue(static_cast<cudaStream_t>(cuda.stream), [=, copies = std::tuple<Args...>(args...)] {
    run_grid(grid, threads, shared_bytes, [&] { std::apply(kernel, copies); });
  });
}

}  // namespace tessera::simt
