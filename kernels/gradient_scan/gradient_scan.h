// One read of the gradients that says how long they are and whether a step may be taken:
//
//     squared_norm += Σ gradient²          finite &= every gradient is finite
//
// Sums of fixed chunks are added up in their order, in double: the result depends on the gradients alone, not on the
// number of threads. `finite` looks at the elements, not at the sum.
#pragma once

#include <cstdint>

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// What scans of several ranges add up to. A fresh one is that of no gradients at all.
struct ScanResult {
  double squared_norm = 0;
  int32_t finite = 1;  ///< 0 once any element was infinite or NaN
  int32_t reserved = 0;
};

struct GradientScan {
  In<1> gradient;      ///< [N], contiguous, f32, f64, f16 or bf16
  ScanResult* result;  ///< lives where the kernel runs; added to

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
