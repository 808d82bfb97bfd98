// Runs a grid of blocks on the CPU, the blocks spread over the OpenMP team.
#pragma once

#include <memory>
#include <tuple>

#include "kernels/simt/capture.h"
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

/// Calls the kernel with arguments that were checked to lie on `device`, or records the call with copies of them.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), const char* name, int device, Index3 grid, int threads, size_t shared_bytes,
            const Args&... args) {
  (check_argument(name, device, args), ...);
  enqueue([=, copies = std::tuple<Args...>(args...)] {
    run_grid(grid, threads, shared_bytes, [&] { std::apply(kernel, copies); });
  });
}

}  // namespace tessera::simt
