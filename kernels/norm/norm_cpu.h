// Layer norm and RMS norm as one algorithm on the CPU: an RMS norm is a layer norm whose means (of s in the forward, of
// g in the backward) are taken as zero, and an absent argument is a row of zeros or ones.
#pragma once

#include <cstdint>

#include "kernels/common/view.h"

namespace tessera {

enum class Centering : uint8_t { mean, none };

/// The arguments of LayerNormForward and RmsNormForward.
struct NormForward {
  In<2> x, residual;
  In<1> weight, bias;
  double epsilon;
  Out<2> sum, y;
  Out<1> mean, rstd;

  void run(Centering centering) const;
};

/// The arguments of LayerNormBackward and RmsNormBackward.
struct NormBackward {
  In<2> x;
  In<1> weight, mean, rstd;
  In<2> dy, dsum;
  Out<2> dx;
  Out<1> dweight;
  float dweight_beta;
  Out<1> dbias;
  float dbias_beta;
  bool normalized;

  void run(Centering centering) const;
};

/// y = (s − mean) · rstd · weight + bias for one row: the one place where it is computed, so that recomputing it gives
/// the same bits.
template <class T>
void normalize_row(const T* s, T mean, T rstd, const T* weight, const T* bias, int64_t n, T* y) {
#pragma omp simd
  for (int64_t c = 0; c < n; ++c) y[c] = (s[c] - mean) * rstd * weight[c] + bias[c];
}

}  // namespace tessera
