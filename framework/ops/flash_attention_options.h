// What attention can be asked for; how scores are masked and changed is written in
// kernels/flash_attention/flash_attention.h.
#pragma once

#include <cstdint>
#include <optional>

#include "framework/parameters/visit.h"
#include "framework/tensor/tensor.h"

namespace tessera::ops {

struct FlashAttentionOptions {
  double scale = 0;          ///< multiplies q·k; 0: 1/√D
  bool causal = false;       ///< bottom-right aligned: the last query stands at the last key
  int64_t window = 0;        ///< a query sees keys less than `window` positions away; 0: no limit
  double softcap = 0;        ///< scores s become softcap·tanh(s/softcap); 0: off
  Tensor alibi_slopes = {};  ///< f32 [H]; scores lose slope·distance; undefined: off
  Tensor mask = {};        ///< true = attend: [B, M] for keys, else four axes, each 1 or full of [B, H, N, M]; boolean,
                           ///< or numeric with only zeros and ones
  Tensor q_segments = {};  ///< i32 [B, N]: queries see only keys of their own segment
  Tensor k_segments = {};  ///< i32 [B, M]; undefined: q_segments
  double dropout = 0;      ///< of the softmax weights, in a training pass
  Site site = {};          ///< keys the dropout
  std::optional<DType> compute_dtype = {};  ///< of the core, e.g. bf16 for f32 inputs; default: that of q
  int64_t q_bucket_size = 512;              ///< upper bound of the query tile
  int64_t k_bucket_size = 1024;             ///< upper bound of the key tile
  bool deterministic = true;  ///< false: on a GPU a 16-bit backward may sum dq in any order, which is faster

  int64_t first_sample = 0;  ///< of the pass's batch that is row 0 of q: q may be a part of it
  int64_t first_head = 0;    ///< of the layer that is head 0 of q
};
}  // namespace tessera::ops
