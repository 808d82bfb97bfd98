// The position-wise half of a transformer block: down(activation(up(x))).
#pragma once

#include "modules/linear.h"

namespace tessera {

struct FeedForward {
  enum class Kind { gelu, gelu_tanh, swiglu };
  struct Options {
    int64_t dim = 0;
    int64_t hidden = 0;  ///< 0: 4·dim, or for SwiGLU 8/3·dim rounded up to a multiple of 64
    Kind kind = Kind::gelu;
    bool bias = true;
    double dropout = 0;                    ///< of the result, before the residual is added
    std::optional<Init> init = {};         ///< of `up`
    std::optional<Init> output_init = {};  ///< of `down`
  };

  explicit FeedForward(const Options& options);

  Kind kind;
  double dropout;
  Linear up;    ///< [hidden, dim]; SwiGLU: [2·hidden, dim], gate first
  Linear down;  ///< [dim, hidden]
  Site dropout_site;

  template <class Each>
  void visit(Each&& each) {
    each("up", up);
    each("down", down);
    each("dropout", dropout_site);
  }

  /// x [..., dim] → [..., dim], plus `residual` if given (the result then has its dtype).
  Variable operator()(const Variable& x, const Variable& residual = {}) const;
};

}  // namespace tessera
