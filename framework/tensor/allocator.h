// Memory for tensors. Freed blocks are kept and handed out again, so a training step, whose shapes repeat, asks the
// system for memory once. Blocks start at multiples of 64 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "framework/tensor/device.h"

namespace tessera {

/// Counters of one device since the program started.
struct AllocatorStats {
  int64_t bytes_in_use = 0;        ///< held by live tensors
  int64_t peak_bytes = 0;          ///< the most that was ever in use
  int64_t bytes_cached = 0;        ///< held by the allocator for the next request
  int64_t requests = 0;            ///< calls to allocate
  int64_t system_allocations = 0;  ///< requests that no cached block could serve
};

/// At least `bytes` bytes on `device`, uninitialised. An `Error` that names the size and what is in use when there is
/// no more memory. Thread-safe.
void* allocate(Device device, size_t bytes);

/// Returns a block of `allocate` with the same size.
void deallocate(Device device, void* block, size_t bytes) noexcept;

/// Gives the cached blocks back to the system.
void release_cached_memory(Device device);

AllocatorStats allocator_stats(Device device);

}  // namespace tessera
