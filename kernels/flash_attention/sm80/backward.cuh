// The backward of FlashAttention-2 (Dao, 2023, algorithm 2) on tensor cores of sm_80 and newer, without atomics: one
// kernel owns query rows and sums dq over keys, another owns keys and sums dk and dv over queries and the heads of its
// group. Both recompute the scores; every sum has one order, so the gradients are the same bits every time.
#pragma once

#include "kernels/flash_attention/sm80/softmax.cuh"

namespace tessera::sm80 {

inline constexpr int kOwnRows = 64;  ///< compiled rows of a block: queries for dq, keys for dk and dv
inline constexpr int kBackwardThreads = kOwnRows * 2;

/// delta(i) = Σ_d dout·out, [B, H, N], a warp per row.
template <class Element>
__global__ void __launch_bounds__(256) delta_kernel(const __grid_constant__ AttentionArguments op, float* delta) {
  const int64_t task = static_cast<int64_t>(block_index().x) * 8 + warp_index(), heads = op.q.shape[2],
                rows = op.rules.rows;
  if (task >= op.q.shape[0] * heads * rows) return;
  const int64_t i = task % rows, h = task / rows % heads, b = task / rows / heads;
  const auto* dout = op.dout.as<Element>() + b * op.dout.strides[0] + i * op.dout.strides[1] + h * op.dout.strides[2];
  const auto* out = op.out.as<Element>() + b * op.out.strides[0] + i * op.out.strides[1] + h * op.out.strides[2];
  float sum = 0;
  for (int64_t d = lane_index(); d < op.q.shape[3]; d += 32)
    sum += static_cast<float>(dout[d]) * static_cast<float>(out[d]);
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
  if (lane_index() == 0) delta[task] = sum;
}

template <int Head>
struct DqTiles {
  static constexpr int kKeys = Head <= 128 ? 64 : 32;
  Tile<kOwnRows, Head> q, dout;
  Tile<kKeys, Head> k, v;
};

template <class Element, int Head, bool Extras>
__global__ void __launch_bounds__(kBackwardThreads)
    dq_kernel(const __grid_constant__ AttentionArguments op, int tile_k, const float* deltas, uint8_t* strange) {
  constexpr int kKeys = DqTiles<Head>::kKeys;
  auto& smem = shared_memory<DqTiles<Head>>();
  const AttentionRules& rules = op.rules;
  const int tile_q = thread_count() / 2, warp_first = warp_index() * 16;
  const int64_t b = block_index().z, h = block_index().y, tile = grid_size().x - 1 - block_index().x;
  const int64_t first = tile * tile_q, last = first + tile_q < rules.rows ? first + tile_q - 1 : rules.rows - 1;
  const int64_t kv_head = h / (op.q.shape[2] / op.k.shape[2]);
  const HeadRows q(op.q, b, h), dout(op.dout, b, h), k(op.k, b, kv_head), v(op.v, b, kv_head);
  const int64_t end = rules.end_key(last);

  float lse[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t i = first + warp_first + row_of(2 * half);
    const bool inside = i < rules.rows;
    lse[half] =
        inside ? op.lse.as<float>()[b * op.lse.strides[0] + h * op.lse.strides[1] + i * op.lse.strides[2]] : 0.0f;
    delta[half] = inside ? deltas[(b * op.q.shape[2] + h) * rules.rows + i] : 0.0f;
  }
  Accumulator<Head> dq;
  clear<Head>(dq);
  smem.q.load(q, first, tile_q);
  smem.dout.load(dout, first, tile_q);
  for (int64_t key = rules.first_key(first) / tile_k * tile_k;; key += tile_k) {
    key = next_visible_keys<Extras>(rules, b, h, first, tile_q, key, end, tile_k);
    if (key >= end) break;
    const TilePlace at{b, h, first + warp_first, key, tile_k};
    sync_threads();  // nobody uses the tiles any more
    smem.k.load(k, key, tile_k);
    smem.v.load(v, key, tile_k);
    cp_async_commit();
    cp_async_wait<0>();
    sync_threads();
    Accumulator<kKeys> s, dp;
    clear<kKeys>(s);
    clear<kKeys>(dp);
    multiply_rows<Element>(s, smem.q, warp_first, smem.k);
    multiply_rows<Element>(dp, smem.dout, warp_first, smem.v);
    const bool edge = has_edge(rules, at, 16, kKeys);
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = n * 8 + column_of(e);
        const int64_t i = at.row + row_of(e), j = key + column;
        const bool hidden = edge && !(column < tile_k && rules.sees_by_position(i, j));
        s[n][e] = pair_gradient<Extras>(rules, at, i, j, hidden, s[n][e], dp[n][e], lse[e / 2], delta[e / 2]).ds;
      }
    }
    multiply_weights<Element, kKeys, Head>(dq, s, smem.k);
  }
  cp_async_wait<0>();
  const auto scale = static_cast<float>(rules.scale);
  const float factor[2] = {scale, scale};
  const bool not_finite = sync_threads_or(store_rows<Element, Head>(op.dq, b, h, first + warp_first, dq, factor));
  if (thread_index() == 0) strange[(b * grid_size().y + h) * grid_size().x + tile] = not_finite;
}

/// Which gradients a block computes: large heads have registers for one at a time.
enum class Part { both, keys, values };

template <int Head>
struct DkvTiles {
  static constexpr int kQueries = Head <= 64 ? 64 : 32;
  Tile<kOwnRows, Head> k, v;
  Tile<kQueries, Head> q, dout;
  float lse[kQueries], delta[kQueries];
};

template <class Element, int Head, bool Extras, Part Wanted>
__global__ void __launch_bounds__(kBackwardThreads)
    dkv_kernel(const __grid_constant__ AttentionArguments op, int tile_q, const float* deltas, uint8_t* strange) {
  constexpr int kQueries = DkvTiles<Head>::kQueries;
  auto& smem = shared_memory<DkvTiles<Head>>();
  const AttentionRules& rules = op.rules;
  const int tile_k = thread_count() / 2, warp_first = warp_index() * 16;
  const int64_t b = block_index().z, kv_head = block_index().y, first = static_cast<int64_t>(block_index().x) * tile_k;
  const int64_t last = first + tile_k < rules.keys ? first + tile_k - 1 : rules.keys - 1;
  const int64_t group = op.q.shape[2] / op.k.shape[2], end = rules.end_row(last);
  const HeadRows k(op.k, b, kv_head), v(op.v, b, kv_head);
  Accumulator<Wanted == Part::values ? 8 : Head> dk;
  Accumulator<Wanted == Part::keys ? 8 : Head> dv;
  clear<Wanted == Part::values ? 8 : Head>(dk);
  clear<Wanted == Part::keys ? 8 : Head>(dv);
  smem.k.load(k, first, tile_k);
  smem.v.load(v, first, tile_k);
  for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    const HeadRows q(op.q, b, h), dout(op.dout, b, h);
    for (int64_t row = rules.first_row(first) / tile_q * tile_q; row < end; row += tile_q) {
      sync_threads();  // nobody uses the tiles any more
      smem.q.load(q, row, tile_q);
      smem.dout.load(dout, row, tile_q);
      cp_async_commit();
      for (int r = thread_index(); r < kQueries; r += thread_count()) {
        const int64_t i = row + r;
        const bool inside = i < rules.rows && r < tile_q;
        smem.lse[r] =
            inside ? op.lse.as<float>()[b * op.lse.strides[0] + h * op.lse.strides[1] + i * op.lse.strides[2]] : 0.0f;
        smem.delta[r] = inside ? deltas[(b * op.q.shape[2] + h) * rules.rows + i] : 0.0f;
      }
      cp_async_wait<0>();
      sync_threads();
      // Transposed: rows are keys, columns queries.
      const TilePlace at{b, h, row, first + warp_first, 16};
      Accumulator<kQueries> s, dp;
      clear<kQueries>(s);
      clear<kQueries>(dp);
      multiply_rows<Element>(s, smem.k, warp_first, smem.q);
      if constexpr (Wanted != Part::values) multiply_rows<Element>(dp, smem.v, warp_first, smem.dout);
      const bool edge = tile_q < kQueries || has_edge(rules, at, kQueries, 16);
#pragma unroll
      for (int n = 0; n < kQueries / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int column = n * 8 + column_of(e);
          const int64_t i = row + column, j = at.key + row_of(e);
          const bool hidden = edge && !(column < tile_q && rules.sees_by_position(i, j));
          const Pair pair =
              pair_gradient<Extras>(rules, at, i, j, hidden, s[n][e], dp[n][e], smem.lse[column], smem.delta[column]);
          dp[n][e] = pair.ds;
          s[n][e] = pair.weight;
        }
      }
      if constexpr (Wanted != Part::keys) multiply_weights<Element, kQueries, Head>(dv, s, smem.dout);
      if constexpr (Wanted != Part::values) multiply_weights<Element, kQueries, Head>(dk, dp, smem.q);
    }
  }
  cp_async_wait<0>();
  const auto scale = static_cast<float>(rules.scale);
  const float scaled[2] = {scale, scale}, plain[2] = {1, 1};
  bool not_finite = false;
  if constexpr (Wanted != Part::values)
    not_finite = store_rows<Element, Head>(op.dk, b, kv_head, first + warp_first, dk, scaled);
  if constexpr (Wanted != Part::keys)
    not_finite = store_rows<Element, Head>(op.dv, b, kv_head, first + warp_first, dv, plain) || not_finite;
  not_finite = sync_threads_or(not_finite);
  uint8_t& flag = strange[(b * grid_size().y + kv_head) * grid_size().x + block_index().x];
  if (thread_index() == 0) flag = not_finite || (Wanted == Part::values && flag != 0);
}

}  // namespace tessera::sm80
