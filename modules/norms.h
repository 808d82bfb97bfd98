// Layer norm and RMS norm over the last axis.
#pragma once

#include "modules/module.h"

namespace tessera {

struct LayerNorm {
  struct Options {
    int64_t dim = 0;
    bool bias = true;
    double epsilon = 1e-5;
  };

  explicit LayerNorm(const Options& options) : weight({options.dim}, Init::ones()), epsilon(options.epsilon) {
    if (options.bias) bias = Parameter({options.dim}, Init::zeros());
  }

  Parameter weight;  ///< [dim]
  Parameter bias;    ///< [dim], or absent
  double epsilon;

  template <class Each>
  void visit(Each&& each) {
    each("weight", weight);
    each("bias", bias);
  }

  /// x [..., dim] → the same shape, in `dtype` (default: that of x).
  Variable operator()(const Variable& x, std::optional<DType> dtype = {}) const {
    return ops::layer_norm(x, weight, bias, {.epsilon = epsilon, .dtype = dtype});
  }
};

struct RMSNorm {
  struct Options {
    int64_t dim = 0;
    double epsilon = 1e-5;
  };

  explicit RMSNorm(const Options& options) : weight({options.dim}, Init::ones()), epsilon(options.epsilon) {}

  Parameter weight;  ///< [dim]
  double epsilon;

  template <class Each>
  void visit(Each&& each) {
    each("weight", weight);
  }

  /// x [..., dim] → the same shape, in `dtype` (default: that of x).
  Variable operator()(const Variable& x, std::optional<DType> dtype = {}) const {
    return ops::rms_norm(x, weight, {.epsilon = epsilon, .dtype = dtype});
  }
};

/// Either of the two, chosen at run time.
struct Norm {
  enum class Kind { layer, rms };
  struct Options {
    Kind kind = Kind::layer;
    int64_t dim = 0;
    bool bias = true;  ///< layer norm only
  };

  explicit Norm(const Options& options) {
    if (options.kind == Kind::layer) layer.emplace(LayerNorm::Options{.dim = options.dim, .bias = options.bias});
    else rms.emplace(RMSNorm::Options{.dim = options.dim});
  }

  std::optional<LayerNorm> layer;
  std::optional<RMSNorm> rms;

  template <class Each>
  void visit(Each&& each) {
    if (layer) layer->visit(each);
    if (rms) rms->visit(each);
  }

  Variable operator()(const Variable& x, std::optional<DType> dtype = {}) const {
    return layer ? (*layer)(x, dtype) : (*rms)(x, dtype);
  }
};

}  // namespace tessera
