// What forward and backward on the CPU share: how tiles are chosen, and the entry points with the choice of tile
// products open, for tests.
#pragma once

#include "kernels/flash_attention/cpu/tile_product.h"
#include "kernels/flash_attention/flash_attention.h"

namespace tessera::attention {

/// The extents of a call, and its tiles.
struct Extents {
  int64_t batch;
  int64_t heads;
  int64_t kv_heads;
  int64_t queries;
  int64_t keys;
  int64_t width;  // the head size
  int64_t tile_q;
  int64_t tile_k;

  int64_t group() const { return heads / kv_heads; }
  int64_t q_tiles() const { return (queries + tile_q - 1) / tile_q; }
  int64_t k_tiles() const { return (keys + tile_k - 1) / tile_k; }
  Range q_tile(int64_t i) const { return {i * tile_q, std::min(queries, (i + 1) * tile_q)}; }
  Range k_tile(int64_t i) const { return {i * tile_k, std::min(keys, (i + 1) * tile_k)}; }
};

/// The tile that a pass works best with.
struct TileShape {
  int64_t q;
  int64_t k;
};

/// Tiles of that shape, less where a bound or the tensors are smaller.
inline Extents extents_of(const In<4>& q, const In<4>& k, const AttentionOptions& options, TileShape tile) {
  return {.batch = q.shape[0],
          .heads = q.shape[2],
          .kv_heads = k.shape[2],
          .queries = q.shape[1],
          .keys = k.shape[1],
          .width = q.shape[3],
          .tile_q = std::max<int64_t>(1, std::min({tile.q, options.q_bucket_size, q.shape[1]})),
          .tile_k = std::max<int64_t>(1, std::min({tile.k, options.k_bucket_size, k.shape[1]}))};
}

void run_forward(const FlashAttentionForward& call, TileBackend backend);
void run_backward(const FlashAttentionBackward& call, TileBackend backend);

}  // namespace tessera::attention
