// How much shared memory blocks may have.
#pragma once

#include <cstddef>

#include "kernels/common/exec.h"

namespace tessera {

/// Bytes of dynamic shared memory that every block may have.
inline constexpr size_t kSharedForAll = 48 << 10;

/// Lets blocks of `kernel` have `bytes` of dynamic shared memory on the current device, which is `cuda.device`. Never
/// fewer than before: another thread may be about to launch it with as many. `name` is for messages.
void allow_shared_memory(const char* name, const void* kernel, Cuda cuda, size_t bytes);

/// Whether a block may have as many bytes at all; GPUs for desktops have less.
bool block_may_share(Cuda cuda, size_t bytes);

}  // namespace tessera
