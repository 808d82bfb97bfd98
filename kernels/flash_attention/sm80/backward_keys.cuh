// dk and dv on tensor cores, and in the atomic form dq as well: a block owns keys, 16 per warp, and walks over tiles of
// queries of all heads of its group. Scores are computed transposed, one row per key, so that P and dS are operands as
// they leave the accumulators. dk and dv have one order of their sums; the atomic form adds its share of dq, formed
// from the dS of all its warps, to sums in memory in any order.
#pragma once

#include "kernels/flash_attention/sm80/backward.cuh"

namespace tessera::sm80 {

/// Which gradients a block computes: large heads have registers for one at a time.
enum class Part { both, keys, values };

/// The dS of a block, for dq.
template <int Keys, int Queries, bool Wanted>
struct ScoreGradients {};
template <int Keys, int Queries>
struct ScoreGradients<Keys, Queries, true> {
  Tile<Keys, Queries> ds;
};

/// Keys of a block and queries of a tile, as many as registers and shared memory allow.
template <int Head, bool Extras, bool Atomic>
struct DkvSizes {
  static constexpr int kKeys = Atomic && Head <= 128 ? 128 : 64;
  static constexpr int kQueries = Head > 128 ? 16 : Head > 64 && (Extras || !Atomic) ? 32 : 64;
  static constexpr int kStep =
      Head == 128 && kQueries > 32 ? 32 : kQueries;  ///< queries whose scores fit into registers
};

template <int Head, bool Extras, bool Atomic, class Sizes = DkvSizes<Head, Extras, Atomic>>
struct DkvTiles : ScoreGradients<Sizes::kKeys, Sizes::kQueries, Atomic> {
  static constexpr int kKeys = Sizes::kKeys;
  static constexpr int kQueries = Sizes::kQueries;
  static constexpr int kStep = Sizes::kStep;
  static constexpr int kThreads = kKeys * 2;
  struct Stage {
    Tile<kQueries, Head> q, dout;
    alignas(16) float lse[kQueries];
    alignas(16) float delta[kQueries];
  };
  Tile<kKeys, Head> k, v;
  Stage stages[2];
};

/// A tile of queries: its head and first row.
struct QueryTile {
  int h, row;
};

/// The order in which a block takes the tiles of queries: those that see its keys, head after head.
struct QueryWalk {
  int begin, end, end_head, step;
  __device__ QueryTile after(QueryTile tile) const {
    tile.row += step;
    return tile.row < end ? tile : QueryTile{tile.h + 1, begin};
  }
  __device__ bool has(const QueryTile& tile) const { return tile.h < end_head && tile.row < end; }
};

/// Adds the dq that a block's keys contribute to a tile of queries: dS by keys, every warp a rectangle of the result.
template <class Element, class Tiles, int Head>
__device__ void add_dq(Tiles& smem, const DqSums& sums, int64_t head, int64_t row) {
  constexpr int kSlices = Head > 32 && Tiles::kQueries >= 32 ? 2 : 1;
  constexpr int kAcross = Tiles::kKeys / 16 / (Tiles::kQueries / 16 / kSlices);  // warps side by side
  constexpr int kColumns = Head / kAcross;
  static_assert(kColumns % 16 == 0);
  const int first = warp_index() / kAcross * 16 * kSlices, column = warp_index() % kAcross * kColumns;
  Accumulator<kSlices, kColumns> dq;
  clear(dq);
#pragma unroll
  for (int k = 0; k < Tiles::kKeys / 16; ++k) {
    uint32_t left[kSlices][4];
#pragma unroll
    for (int s = 0; s < kSlices; ++s) smem.ds.fragment_a_transposed(first + s * 16, k, left[s]);
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      uint32_t right[4];
      smem.k.fragment_b_transposed(k * 16, column, n, right);
      multiply_fragments<Element>(dq, n, left, right);
    }
  }
#pragma unroll
  for (int s = 0; s < kSlices; ++s) {
    const int64_t slice = (row + first) / 16 + s;
    if (slice >= sums.slices) continue;
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) atomic_add(sums.at(head, slice, column / 8 + n, e), dq[s][n][e]);
  }
}

/// Puts a warp's 16 rows of dS into the block's tile from `column` on, rounded.
template <class Element, int Rows, int Width, int Groups>
__device__ void put_rows(Tile<Rows, Width>& to, int row, int column, const float (&x)[1][Groups][4]) {
#pragma unroll
  for (int n = 0; n < Groups; ++n)
#pragma unroll
    for (int e = 0; e < 4; e += 2)
      *reinterpret_cast<uint32_t*>(to.elements + Tile<Rows, Width>::place(row + row_of(e), column / 8 + n) +
                                   column_of(0)) = pack<Element>(x[0][n][e], x[0][n][e + 1]);
}

template <class Element, int Head, bool Extras, Part Wanted, bool Atomic>
__global__ void __launch_bounds__(DkvTiles<Head, Extras, Atomic>::kThreads, 1)
    dkv_kernel(const __grid_constant__ AttentionArguments op, TileSizes sizes, Statistics statistics, DqSums dq,
               uint8_t* strange) {
  using Tiles = DkvTiles<Head, Extras, Atomic>;
  constexpr bool kWantsKeys = Wanted != Part::values, kWantsValues = Wanted != Part::keys;
  auto& smem = shared_memory<Tiles>();
  const AttentionRules& rules = op.rules;
  const int b = block_index().z, kv_head = block_index().y, group = static_cast<int>(op.q.shape[2] / op.k.shape[2]);
  const int first = block_index().x * sizes.k;
  const QueryWalk walk{
      static_cast<int>(rules.first_row(first)) / sizes.q * sizes.q,
      static_cast<int>(rules.end_row((first + sizes.k < rules.keys ? first + sizes.k : rules.keys) - 1)),
      (kv_head + 1) * group, sizes.q};
  const auto next = [&](QueryTile tile) {  // the first tile from `tile` on that sees anything
    if constexpr (Extras)
      while (walk.has(tile) && !has_sight_by_mask(rules, {b, tile.h, tile.row, first, sizes.q, sizes.k}))
        tile = walk.after(tile);
    return tile;
  };
  const auto load = [&](typename Tiles::Stage& stage, const QueryTile& tile) {
    if (walk.has(tile)) {
      stage.q.template load<Tiles::kThreads>(HeadRows<Head>(op.q, b, tile.h), tile.row, sizes.q);
      stage.dout.template load<Tiles::kThreads>(HeadRows<Head>(op.dout, b, tile.h), tile.row, sizes.q);
      const int64_t from = (b * op.q.shape[2] + tile.h) * statistics.rows + tile.row;
      const int chunk = thread_index() % 32 * 4;
      if (warp_index() < 2 && chunk < Tiles::kQueries)
        cp_async_16((warp_index() == 0 ? stage.lse : stage.delta) + chunk,
                    (warp_index() == 0 ? statistics.lse : statistics.delta) + from + chunk,
                    chunk < sizes.q && tile.row + chunk < statistics.rows ? 16 : 0);
    }
    cp_async_commit();
  };

  const int warp_row = warp_index() * 16;
  const int keys = rows_that_count(16, sizes.k - warp_row, rules.keys - first - warp_row);
  const Sight<true> sight(rules);
  Accumulator<1, kWantsKeys ? Head : 8> dk;
  Accumulator<1, kWantsValues ? Head : 8> dv;
  clear(dk);
  clear(dv);
  QueryTile tile = next({kv_head * group, walk.begin});
  smem.k.template load<Tiles::kThreads>(HeadRows<Head>(op.k, b, kv_head), first, sizes.k);
  smem.v.template load<Tiles::kThreads>(HeadRows<Head>(op.v, b, kv_head), first, sizes.k);
  load(smem.stages[0], tile);
  for (int stage = 0; walk.has(tile); stage ^= 1) {
    const QueryTile following = next(walk.after(tile));
    cp_async_wait<0>();
    sync_threads();  // this tile is there, and nobody uses the one before it any more
    load(smem.stages[stage ^ 1], following);
    auto& queries = smem.stages[stage];
#pragma unroll 1
    for (int step = 0; step < Tiles::kQueries; step += Tiles::kStep) {
      const int rows = sizes.q - step < Tiles::kStep ? sizes.q - step : Tiles::kStep;
      const TilePlace at{b, tile.h, tile.row + step, first + warp_row, rows, keys};
      const bool sees = sight.reaches(at);
      Accumulator<1, Tiles::kStep> s, dp;
      clear(dp);
      if (sees) {
        clear(s);
        multiply_rows<Element>(s, smem.k, warp_row, queries.q, step);
        if constexpr (kWantsKeys) multiply_rows<Element>(dp, smem.v, warp_row, queries.dout, step);
        softmax_gradient<Extras, true>(rules, ScoreTerms(rules, tile.h), sight, at, s, dp, [&](int, int n, int e) {
          const int column = step + n * 8 + column_of(e);
          return QueryStatistics{queries.lse[column], queries.delta[column]};
        });
      }
      if constexpr (Atomic && kWantsKeys) put_rows<Element>(smem.ds, warp_row, step, dp);
      if (!sees) continue;
      if constexpr (kWantsValues) multiply_weights<Element>(dv, s, queries.dout, step);
      if constexpr (kWantsKeys) multiply_weights<Element>(dk, dp, queries.q, step);
    }
    if constexpr (Atomic && kWantsKeys) {
      sync_threads();  // the dS of all warps are there
      add_dq<Element, Tiles, Head>(smem, dq, b * op.q.shape[2] + tile.h, tile.row);
    }
    tile = following;
  }
  cp_async_wait<0>();
  const auto scale = static_cast<float>(rules.scale);
  const float scaled[1][2] = {{scale, scale}}, plain[1][2] = {{1, 1}};
  const int64_t keys_end = first + warp_row + keys;
  bool not_finite = false;
  if constexpr (kWantsKeys) not_finite = store_rows<Element>(op.dk, b, kv_head, first + warp_row, keys_end, dk, scaled);
  if constexpr (kWantsValues)
    not_finite = store_rows<Element>(op.dv, b, kv_head, first + warp_row, keys_end, dv, plain) || not_finite;
  not_finite = sync_threads_or(not_finite);
  uint8_t& flag = flag_of(strange, b, kv_head, block_index().x);
  if (thread_index() == 0) flag = not_finite || (Wanted == Part::values && flag != 0);
}

}  // namespace tessera::sm80
