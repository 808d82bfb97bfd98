// The yardstick of every "share of peak" that is printed.
#pragma once

namespace tessera {

/// Floating-point operations per second, in units of 10⁹, that `threads` OpenMP threads reach together on fused
/// multiply-adds of f32 held in registers. Takes some 30 ms on an idle machine; measure it in the run that it is
/// compared with.
double measured_fma_peak_gflops(int threads);

}  // namespace tessera
