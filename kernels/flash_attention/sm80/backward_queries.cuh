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
  Tile<kRows, Head> q, dout;
  KeyStage<kKeys, Head> stages[2];
  QueryStatistics statistics[kRows];
};

template <class Element, int Head, bool Extras>
__global__ void __launch_bounds__(DqTiles<Head, Extras>::kThreads, 1)
    dq_kernel(const __grid_constant__ AttentionArguments op, TileSizes sizes, Statistics statistics, uint8_t* strange) {
  using Tiles = DqTiles<Head, Extras>;
  auto& smem = shared_memory<Tiles>();
  const AttentionRules& rules = op.rules;
  const QueryBlock<int> block(op, sizes.q);
  const KeyWalk<Head, Extras, Tiles::kThreads> walk(op, block, sizes);
  const ScoreTerms terms(rules, block.h);
  const int warp_row = warp_index() * 16 * Tiles::kSlices;
  TilePlace at{block.b, block.h, block.first + warp_row, walk.begin(), 0, sizes.k};
  at.rows = rows_that_count(16 * Tiles::kSlices, sizes.q - warp_row, rules.rows - at.row);
  if (thread_index() < Tiles::kRows) {
    const int i = block.first + thread_index();
    const int64_t task = (block.b * op.q.shape[2] + block.h) * statistics.rows + i;
    const bool inside = i < rules.rows;
    smem.statistics[thread_index()] = {inside ? statistics.lse[task] : INFINITY,
                                       inside ? statistics.delta[task] : 0.0f};
  }
  Accumulator<Tiles::kSlices, Head> dq;
  clear(dq);
  const Sight<false> sight(rules);
  smem.q.template load<Tiles::kThreads>(HeadRows<Head>(op.q, block.b, block.h), block.first, sizes.q);
  smem.dout.template load<Tiles::kThreads>(HeadRows<Head>(op.dout, block.b, block.h), block.first, sizes.q);
  walk.load(smem.stages[0], at.key);
  for (int stage = 0; walk.has(at.key); stage ^= 1) {
    const int following = walk.next(at.key + sizes.k);
    cp_async_wait<0>();
    sync_threads();  // this tile is there, and nobody uses the one before it any more
    walk.load(smem.stages[stage ^ 1], following);
    auto& tiles = smem.stages[stage];
#pragma unroll 1
    for (int step = 0; step < sizes.k; step += Tiles::kStep) {
      const TilePlace part{at.b,          at.h,    at.row,
                           at.key + step, at.rows, sizes.k - step < Tiles::kStep ? sizes.k - step : Tiles::kStep};
      if (!sight.reaches(part)) continue;
      Accumulator<Tiles::kSlices, Tiles::kStep> s, dp;
      clear(s);
      clear(dp);
      multiply_rows<Element>(s, smem.q, warp_row, tiles.k, step);
      multiply_rows<Element>(dp, smem.dout, warp_row, tiles.v, step);
      softmax_gradient<Extras, false>(rules, terms, sight, part, s, dp, [&](int slice, int, int e) {
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
  const bool not_finite = sync_threads_or(store_rows<Element>(op.dq, at.b, at.h, at.row, at.row + at.rows, dq, factor));
  if (thread_index() == 0) flag_of(strange, block.b, block.h, block.tile) = not_finite;
}

}  // namespace tessera::sm80
