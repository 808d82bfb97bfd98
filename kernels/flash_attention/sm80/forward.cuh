// The forward of FlashAttention-2 (Dao, 2023, algorithm 1) on tensor cores of sm_80 and newer. A block owns query rows
// of one head, two slices of 16 per warp (one for large heads), and walks over tiles of keys and values, of which the
// next arrives while one is used: one barrier per tile.
#pragma once

#include "kernels/flash_attention/sm80/key_walk.cuh"

namespace tessera::sm80 {

/// Registers decide: at most 255 per thread, for the output, the scores and what the options need.
template <int Head, bool Extras>
struct ForwardTiles {
  static constexpr int kThreads = 128;
  static constexpr int kSlices = Head <= 128 && !Extras ? 2 : 1;
  static constexpr int kRows = kThreads / 2 * kSlices;
  static constexpr int kKeys = Head <= 64 ? 64 : 32;
  Tile<kRows, Head> q;
  KeyStage<kKeys, Head> stages[2];
};

/// Divides by the sums, stores the rows and their statistics; whether an output is not finite.
template <class Element, bool Extras, int Slices, int Groups>
__device__ bool finish_rows(const AttentionArguments& op, const TilePlace& at, const RowStatistics<Slices>& rows,
                            const float (&o)[Slices][Groups][4]) {
  float factor[Slices][2];
  const int64_t end = at.row + at.rows;
#pragma unroll
  for (int s = 0; s < Slices; ++s) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = rows.sum[s][half];
      sum += shuffle_xor(sum, 2);
      sum += shuffle_xor(sum, 1);
      factor[s][half] = sum == 0 ? 0.0f : 1 / sum;
      const int64_t i = at.row + s * 16 + row_of(2 * half);
      if (!op.lse || lane_index() % 4 != 0 || i >= end) continue;
      const float unit = Extras ? kLn2 : static_cast<float>(op.rules.scale);
      op.lse.as<float>()[at.b * op.lse.strides[0] + at.h * op.lse.strides[1] + i * op.lse.strides[2]] =
          sum == 0 ? -INFINITY : rows.max[s][half] * unit + logf(sum);
    }
  }
  return store_rows<Element>(op.out, at.b, at.h, at.row, end, o, factor);
}

/// `strange[tile]` is set to whether the tile's output is not finite everywhere.
template <class Element, int Head, bool Extras>
__global__ void __launch_bounds__(ForwardTiles<Head, Extras>::kThreads, 1)
    forward_kernel(const __grid_constant__ AttentionArguments op, TileSizes sizes, uint8_t* strange) {
  using Tiles = ForwardTiles<Head, Extras>;
  auto& smem = shared_memory<Tiles>();
  const AttentionRules& rules = op.rules;
  const QueryBlock<int> block(op, sizes.q);
  const KeyWalk<Head, Extras, Tiles::kThreads> walk(op, block, sizes);
  const ScoreTerms terms(rules, block.h);
  const float unit = Extras ? 1.0f : terms.scale;
  const int warp_row = warp_index() * 16 * Tiles::kSlices;
  TilePlace at{block.b, block.h, block.first + warp_row, walk.begin(), 0, sizes.k};
  at.rows = rows_that_count(16 * Tiles::kSlices, sizes.q - warp_row, rules.rows - at.row);
  Accumulator<Tiles::kSlices, Head> o;
  clear(o);
  RowStatistics<Tiles::kSlices> rows;
  const Sight<false> sight(rules);
  smem.q.template load<Tiles::kThreads>(HeadRows<Head>(op.q, block.b, block.h), block.first, sizes.q);
  walk.load(smem.stages[0], at.key);
  for (int stage = 0; walk.has(at.key); stage ^= 1) {
    const int following = walk.next(at.key + sizes.k);
    cp_async_wait<0>();
    sync_threads();  // this tile is there, and nobody uses the one before it any more
    walk.load(smem.stages[stage ^ 1], following);
    if (sight.reaches(at)) {
      Accumulator<Tiles::kSlices, Tiles::kKeys> s;
      clear(s);
      multiply_rows<Element>(s, smem.q, warp_row, smem.stages[stage].k);
      finish_scores<Extras>(rules, terms, sight, at, s);
      online_softmax(unit, s, rows, o);
      drop_weights<Extras>(rules, at, s);
      multiply_weights<Element>(o, s, smem.stages[stage].v);
    }
    at.key = following;
  }
  cp_async_wait<0>();
  const bool not_finite = sync_threads_or(finish_rows<Element, Extras>(op, at, rows, o));
  if (thread_index() == 0) flag_of(strange, block.b, block.h, block.tile) = not_finite;
}

}  // namespace tessera::sm80
