// The Gaussian error linear unit (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, section 2).
//
//   exact   y = x · Φ(x)                        dx = dy · (Φ(x) + x · φ(x))
//   tanh    y = x/2 · (1 + t)                   dx = dy · ((1 + t)/2 + x/2 · (1 − t²) · u′)
//           t = tanh(u),  u = √(2/π) · (x + 0.044715 x³),  u′ = √(2/π) · (1 + 0.134145 x²)
//
// Φ and φ are the distribution function and the density of the standard normal distribution.
#pragma once

#include "kernels/common/activation.h"
#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// GELU, in the form that `activation` names, of contiguous tensors; y may be the memory of x where the dtypes agree.
struct Gelu {
  In<1> x;
  Activation activation;  ///< gelu_tanh or gelu_exact
  Out<1> y;

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

/// dx from the forward's input; dx may be the memory of x or dy where the dtypes agree.
struct GeluBackward {
  In<1> x;
  In<1> dy;
  Activation activation;  ///< gelu_tanh or gelu_exact
  Out<1> dx;

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
