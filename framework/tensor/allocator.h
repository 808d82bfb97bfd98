// Memory for tensors. Freed blocks are kept and handed out again, so a training step, whose shapes repeat, asks the
// system for memory once. Blocks start at multiples of 64 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "framework/tensor/device.h"
#include "framework/tensor/shape.h"
#include "kernels/common/dtype.h"

namespace tessera {

/// Counters of one device since the program started.
struct AllocatorStats {
  int64_t bytes_in_use = 0;        ///< held by live tensors
  int64_t peak_bytes = 0;          ///< the most that was ever in use
  int64_t bytes_cached = 0;        ///< held by the allocator for the next request
  int64_t requests = 0;            ///< calls to allocate
  int64_t system_allocations = 0;  ///< requests that no cached block could serve
};

/// What memory is for, as the message of an allocation that fails tells it.
struct MemoryUse {
  const char* name = "scratch memory";  ///< a literal
  DType dtype = DType::u8;
  Shape shape = {};  ///< rank 0: the name says it all
};

/// At least `bytes` bytes on `device`, uninitialised. When there is no more memory, an `Error` says how much was asked
/// for what, what is in use, who uses most and what to change; nothing else has changed then. Thread-safe.
void* allocate(Device device, size_t bytes, const MemoryUse& use = {});

/// Returns a block of `allocate` with the same size.
void deallocate(Device device, void* block, size_t bytes) noexcept;

/// Gives the cached blocks back to the system.
void release_cached_memory(Device device);

AllocatorStats allocator_stats(Device device);

}  // namespace tessera
