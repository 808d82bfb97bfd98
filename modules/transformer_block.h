// A pre-norm transformer block. The residual stream keeps its dtype; each norm hands the compute dtype to what follows,
// and the last projection of each half adds into the stream.
#pragma once

#include "modules/feed_forward.h"
#include "modules/flash_attention_two.h"
#include "modules/norms.h"

namespace tessera {

struct TransformerBlock {
  struct Options {
    FlashAttentionTwo::Options attention;
    FeedForward::Options feed_forward;
    Norm::Options norm;
    DType dtype = DType::f32;  ///< what attention and feed-forward compute in
  };

  explicit TransformerBlock(const Options& options)
      : dtype(options.dtype),
        norm_1(options.norm),
        attention(options.attention),
        norm_2(options.norm),
        feed_forward(options.feed_forward) {}

  DType dtype;
  Norm norm_1;
  FlashAttentionTwo attention;
  Norm norm_2;
  FeedForward feed_forward;

  template <class Each>
  void visit(Each&& each) {
    each("norm_1", norm_1);
    each("attention", attention);
    each("norm_2", norm_2);
    each("feed_forward", feed_forward);
  }

  /// x [B, N, C] → [B, N, C]; `segments` i32 [B, N] keeps packed documents apart.
  Variable operator()(const Variable& x, const Tensor& segments = {}) const {
    const Variable y = attention(norm_1(x, dtype), {.segments = segments, .residual = x});
    return feed_forward(norm_2(y, dtype), y);
  }
};

}  // namespace tessera
