// The forward of FlashAttention-2 (Dao, 2023, algorithm 1) on tensor cores of sm_80 and newer. A block owns up to 128
// query rows of one head, 16 per warp, and walks over tiles of keys; the values of a tile arrive while its scores are
// computed, the next keys while its weights are used.
#pragma once

#include "kernels/flash_attention/sm80/softmax.cuh"

namespace tessera::sm80 {

/// The compiled tiles. Fewer rows, or fewer keys that count, are possible at run time in steps of 16.
template <int Head>
struct ForwardTiles {
  static constexpr int kRows = Head <= 128 ? 128 : 64;
  static constexpr int kKeys = Head <= 128 ? 64 : 32;
  static constexpr int kThreads = kRows * 2;
  Tile<kRows, Head> q;
  Tile<kKeys, Head> k, v;
};

/// `strange[tile]` is set to whether the tile's output is not finite everywhere.
template <class Element, int Head, bool Extras>
__global__ void __launch_bounds__(ForwardTiles<Head>::kThreads)
    forward_kernel(const __grid_constant__ AttentionArguments op, int tile_k, uint8_t* strange) {
  constexpr int kKeys = ForwardTiles<Head>::kKeys;
  auto& smem = shared_memory<ForwardTiles<Head>>();
  const AttentionRules& rules = op.rules;
  const int tile_q = thread_count() / 2, warp_first = warp_index() * 16;
  const int64_t b = block_index().z, h = block_index().y;
  const int64_t tile = grid_size().x - 1 - block_index().x;  // under a causal mask the longest first
  const int64_t first = tile * tile_q, last = first + tile_q < rules.rows ? first + tile_q - 1 : rules.rows - 1;
  const int64_t kv_head = h / (op.q.shape[2] / op.k.shape[2]);
  const HeadRows q(op.q, b, h), k(op.k, b, kv_head), v(op.v, b, kv_head);
  const int64_t end = rules.end_key(last);

  Accumulator<Head> o;
  clear<Head>(o);
  RowStatistics rows;
  const auto next = [&](int64_t key) {
    return next_visible_keys<Extras>(rules, b, h, first, tile_q, key, end, tile_k);
  };
  int64_t key = next(rules.first_key(first) / tile_k * tile_k);
  smem.q.load(q, first, tile_q);
  smem.k.load(k, key, tile_k);
  cp_async_commit();
  while (key < end) {
    const TilePlace at{b, h, first + warp_first, key, tile_k};
    cp_async_wait<0>();
    sync_threads();  // the keys are there, and nobody uses the values any more
    smem.v.load(v, key, tile_k);
    cp_async_commit();
    Accumulator<kKeys> s;
    clear<kKeys>(s);
    multiply_rows<Element>(s, smem.q, warp_first, smem.k);
    finish_scores<Extras, kKeys>(rules, at, s);
    online_softmax<Extras, kKeys, Head>(rules, at, s, rows, o);
    cp_async_wait<0>();
    sync_threads();  // the values are there, and nobody uses the keys any more
    key = next(key + tile_k);
    if (key < end) {
      smem.k.load(k, key, tile_k);
      cp_async_commit();
    }
    multiply_weights<Element, kKeys, Head>(o, s, smem.v);
  }
  cp_async_wait<0>();

  float factor[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = rows.sum[half];
    sum += shuffle_xor(sum, 2);
    sum += shuffle_xor(sum, 1);
    factor[half] = sum == 0 ? 0.0f : 1 / sum;
    const int64_t i = first + warp_first + row_of(2 * half);
    if (op.lse && lane_index() % 4 == 0 && i < rules.rows) {
      const float unit = Extras ? kLn2 : static_cast<float>(rules.scale);
      op.lse.as<float>()[b * op.lse.strides[0] + h * op.lse.strides[1] + i * op.lse.strides[2]] =
          sum == 0 ? -INFINITY : rows.max[half] * unit + logf(sum);
    }
  }
  const bool not_finite = sync_threads_or(store_rows<Element, Head>(op.out, b, h, first + warp_first, o, factor));
  if (thread_index() == 0) strange[(b * grid_size().y + h) * grid_size().x + tile] = not_finite;
}

}  // namespace tessera::sm80
