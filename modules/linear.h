// A fully connected layer: y = x·Wᵀ + b.
#pragma once

#include "modules/module.h"

namespace tessera {

struct Linear {
  struct Options {
    int64_t in = 0;
    int64_t out = 0;
    bool bias = true;
    std::optional<Init> init = {};  ///< of the weight; default: uniform ±1/√in, as PyTorch's Linear
  };

  explicit Linear(const Options& options);

  Parameter weight;  ///< [out, in]
  Parameter bias;    ///< [out], or absent

  template <class Each>
  void visit(Each&& each) {
    each("weight", weight);
    each("bias", bias);
  }

  /// x [..., in] → [..., out].
  Variable operator()(const Variable& x, const ops::LinearOptions& options = {}) const {
    return ops::linear(x, weight, bias, options);
  }
};

}  // namespace tessera
