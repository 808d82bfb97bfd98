// The machine under the program: its threads, its peak arithmetic, and the memory the process holds.
#pragma once

#include <cstdint>

#include "kernels/common/peak.h"     // IWYU pragma: export
#include "kernels/common/threads.h"  // IWYU pragma: export

namespace tessera {

/// The largest resident set of this process so far, in bytes.
int64_t peak_resident_bytes();

}  // namespace tessera
