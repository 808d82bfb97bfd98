// Host memory in large pages. A step walks over more memory than the processor can translate addresses for in pages of
// 4 KiB; the system gives pages of 2 MiB where it is asked for them, but only to ranges that fill such a page. So large
// blocks start at one, and small blocks are cut from slabs.
#pragma once

#include <cstddef>

namespace tessera {

/// Uninitialised memory that starts at a multiple of 64 bytes, `bytes` being one; null when there is no more. Not
/// thread-safe.
void* take_host_memory(size_t bytes);

/// Returns a block to the system; false if it was cut from a slab, which stays.
bool give_back_host_memory(void* block, size_t bytes);

}  // namespace tessera
