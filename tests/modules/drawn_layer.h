// A small FlashAttentionTwo whose weights are all drawn.
#pragma once

#include "modules/flash_attention_two.h"

namespace tessera {

inline constexpr int64_t kDim = 12;

/// The options of a layer of width kDim.
inline FlashAttentionTwo::Options with(FlashAttentionTwo::Options options) {
  options.dim = kDim;
  return options;
}

/// A layer in f64 whose weights are all drawn, biases too.
inline FlashAttentionTwo make(const FlashAttentionTwo::Options& options, DType dtype = DType::f64) {
  FlashAttentionTwo layer(with(options));
  initialize(layer, {.seed = 3, .dtype = dtype});
  return layer;
}

}  // namespace tessera
