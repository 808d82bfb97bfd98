// The machine under the program: its threads, its peak arithmetic, and the memory the process holds.
#pragma once

#include <cstdint>

#include "kernels/common/peak.h"     // IWYU pragma: export
#include "kernels/common/threads.h"  // IWYU pragma: export

namespace tessera {

/// The largest resident set of this process so far, in bytes.
int64_t peak_resident_bytes();

/// Bytes that this process can still take without being killed: what the machine has, or less where its control group
/// (a container) is limited. The largest number there is where neither can be read.
int64_t available_memory_bytes();

}  // namespace tessera
