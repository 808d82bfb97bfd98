// What stands between q·k and the softmax: everything that attention can be asked to do beyond the plain product. An
// option left at its default costs nothing.
#pragma once

#include <cstdint>

#include "kernels/common/host_device.h"
#include "kernels/common/philox.h"
#include "kernels/common/view.h"

namespace tessera {

/// The options of one attention call, the same for forward and backward. Row i stands at key position p = i + M − N:
/// the last query stands at the last key, so with a KV cache (N < M) nothing else needs to be said.
struct AttentionOptions {
  double scale;               ///< multiplies q·k; > 0, as a rule 1/√D
  bool causal = false;        ///< row i sees key j only if j ≤ p (bottom-right aligned)
  int64_t window_left = -1;   ///< row i sees key j only if j ≥ p − window_left; −1: unlimited
  int64_t window_right = -1;  ///< row i sees key j only if j ≤ p + window_right; −1: unlimited
  double softcap = 0;         ///< s ← softcap · tanh(s / softcap), before the bias below; 0: off
  In<1> alibi_slopes{};       ///< f32 [H]; s ← s − slope · |p − j|; absent: off
  In<4> mask{};        ///< boolean [B|1, H|1, N|1, M|1], true = attend, stride 0 where broadcast; absent: all true
  In<2> q_segments{};  ///< i32 [B, N]; with k_segments: row i sees key j only if their segments are equal
  In<2> k_segments{};  ///< i32 [B, M]; present iff q_segments is
  float dropout = 0;   ///< probability in [0, 1) of dropping a softmax weight; the others grow by 1/(1 − dropout)
  RandomKey dropout_key = {};    ///< of (seed, iteration, site)
  int64_t first_sample = 0;      ///< index of batch row 0 in the global batch, so that ranks drop alike
  int64_t first_head = 0;        ///< index of head 0 in the whole layer, where the heads are split over devices
  int64_t q_bucket_size = 512;   ///< upper bound of the query tile, ≥ 1
  int64_t k_bucket_size = 1024;  ///< upper bound of the key tile, ≥ 1
  bool deterministic = true;  ///< backward: the same bits every time; false: dq may be summed in any order, faster on
                              ///< GPUs with 16-bit dtypes
};

/// The dropout words of four neighbouring keys: word j mod 4 of `attention_dropout_words(key, sample, head, i, j / 4)`
/// belongs to (row i, key j), and that weight is dropped iff the word is below `dropout_threshold(dropout)`. `sample`
/// and `head` count from first_sample and first_head; i and j are positions in q and k. This is the whole layout:
/// nothing in it depends on tiles, threads, devices or ranks.
TESSERA_HOST_DEVICE inline Words attention_dropout_words(uint64_t key, int64_t sample, int64_t head, int64_t i,
                                                         int64_t quad) {
  return philox(key, {static_cast<uint32_t>(quad), static_cast<uint32_t>(i), static_cast<uint32_t>(head),
                      static_cast<uint32_t>(sample)});
}

/// The tiles a call will use, and the memory it takes beside its arguments.
struct AttentionPlan {
  int64_t tile_q;             ///< queries per tile, ≤ q_bucket_size
  int64_t tile_k;             ///< keys per tile, ≤ k_bucket_size
  int64_t scratch_bytes = 0;  ///< over all threads or blocks
  bool atomic = false;        ///< dq is summed in any order: asked for by `deterministic = false`, and possible here
};

}  // namespace tessera
