// The time that passes on a device, noted by work that a stream comes to as to any other: nobody waits for it, and a
// CUDA graph holds it. In nanoseconds of the device's clock:
//
//     NoteTime:      *moment  = now
//     AddTimeSince:  *total  += now − *moment
#pragma once

#include <cstdint>

#include "kernels/common/exec.h"

namespace tessera {

struct NoteTime {
  int64_t* moment;  ///< lives where the kernel runs, or in pinned host memory

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

/// One stream at a time may add to `total`.
struct AddTimeSince {
  const int64_t* moment;  ///< as NoteTime left it
  int64_t* total;         ///< lives where the kernel runs, or in pinned host memory

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
