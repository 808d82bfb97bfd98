// dq on tensor cores: a block owns query rows and walks over tiles of keys and values, as the forward does, with the
// scores computed again. Every sum has one order, so dq is the same bits every time.
#pragma once

#include "kernels/flash_attention/sm80/backward.cuh"

namespace tessera::sm80 {

template <int Head, bool Extras>
struct DqTiles {
  static constexpr int kThreads = 128;
  static constexpr int kSlices = Head <= 128 && !Extras ? 2 : 1;
  static constexpr int kRows = kThreads / 2 * kSlices;
  static constexpr int kKeys = Head <= 128 ? 32 : 16;
  static constexpr int kStep = Head == 128 && !Extras ? 16 : kKeys;  ///< keys whose scores fit into registers
  struct Stage {
    Tile<kKeys, Head> k, v;
  };
  Tile<kRows, Head> q, dout;
  Stage stages[2];
  QueryStatistics statistics[kRows];
};

template <class Element, int Head, bool Extras>
__global__ void __launch_bounds__(DqTiles<Head, Extras>::kThreads, 1)
    dq_kernel(const __grid_constant__ AttentionArguments op, TileSizes sizes, Statistics statistics, uint8_t* strange) {
  using Tiles = DqTiles<Head, Extras>;
  auto& smem = shared_memory<Tiles>();
  const AttentionRules& rules = op.rules;
  const int b = block_index().z, h = block_index().y, kv_head = h / static_cast<int>(op.q.shape[2] / op.k.shape[2]);
  const int tile = grid_size().x - 1 - block_index().x;  // under a causal mask the longest first
  const int first = tile * sizes.q;
  const HeadRows<Head> k(op.k, b, kv_head), v(op.v, b, kv_head);
  const ScoreTerms terms(rules, h);
  const int end = static_cast<int>(rules.end_key((first + sizes.q < rules.rows ? first + sizes.q : rules.rows) - 1));
  const auto next = [&](int key) {
    if constexpr (Extras)
      while (key < end && !has_sight_by_mask(rules, {b, h, first, key, sizes.q, sizes.k})) key += sizes.k;
    return key;
  };
  const auto load = [&](typename Tiles::Stage& stage, int key) {
    if (key < end) {
      stage.k.template load<Tiles::kThreads>(k, key, sizes.k);
      stage.v.template load<Tiles::kThreads>(v, key, sizes.k);
    }
    cp_async_commit();
  };

  const int warp_row = warp_index() * 16 * Tiles::kSlices;
  TilePlace at{b, h, first + warp_row, 0, sizes.q - warp_row, sizes.k};
  if (thread_index() < Tiles::kRows) {
    const int i = first + thread_index();
    const int64_t task = (b * op.q.shape[2] + h) * statistics.rows + i;
    const bool inside = i < rules.rows;
    smem.statistics[thread_index()] = {inside ? statistics.lse[task] : INFINITY,
                                       inside ? statistics.delta[task] : 0.0f};
  }
  Accumulator<Tiles::kSlices, Head> dq;
  clear(dq);
  at.key = next(static_cast<int>(rules.first_key(first)) / sizes.k * sizes.k);
  smem.q.template load<Tiles::kThreads>(HeadRows<Head>(op.q, b, h), first, sizes.q);
  smem.dout.template load<Tiles::kThreads>(HeadRows<Head>(op.dout, b, h), first, sizes.q);
  load(smem.stages[0], at.key);
  for (int stage = 0; at.key < end; stage ^= 1) {
    const int following = next(at.key + sizes.k);
    cp_async_wait<0>();
    sync_threads();  // this tile is there, and nobody uses the one before it any more
    load(smem.stages[stage ^ 1], following);
    auto& tiles = smem.stages[stage];
#pragma unroll 1
    for (int step = 0; step < sizes.k; step += Tiles::kStep) {
      const TilePlace part{
          b, h, at.row, at.key + step, at.rows, sizes.k - step < Tiles::kStep ? sizes.k - step : Tiles::kStep};
      if (!has_sight(rules, part)) continue;
      Accumulator<Tiles::kSlices, Tiles::kStep> s, dp;
      clear(s);
      clear(dp);
      multiply_rows<Element>(s, smem.q, warp_row, tiles.k, step);
      multiply_rows<Element>(dp, smem.dout, warp_row, tiles.v, step);
      softmax_gradient<Extras, false>(rules, terms, part, s, dp, [&](int slice, int, int e) {
        return smem.statistics[warp_row + slice * 16 + row_of(e)];
      });
      multiply_weights<Element>(dq, dp, tiles.k, step);
    }
    at.key = following;
  }
  cp_async_wait<0>();
  float factor[Tiles::kSlices][2];
#pragma unroll
  for (int s = 0; s < Tiles::kSlices; ++s) factor[s][0] = factor[s][1] = static_cast<float>(rules.scale);
  const int64_t rows_end = at.row + at.rows < rules.rows ? at.row + at.rows : rules.rows;
  const bool not_finite = sync_threads_or(store_rows<Element>(op.dq, b, h, at.row, rows_end, dq, factor));
  if (thread_index() == 0) strange[(static_cast<int64_t>(b) * grid_size().y + h) * grid_size().x + tile] = not_finite;
}

}  // namespace tessera::sm80
