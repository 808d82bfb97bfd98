// What happens to a tile of scores between the two products, in the accumulators of a warp. Scores become powers of
// two: without extras they stay q·k until the exponent, with them they are scores times log₂ e.
#pragma once

#include "kernels/flash_attention/sm80/tile.cuh"

namespace tessera::sm80 {

inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;

/// Where a warp's tile lies: its first row and first column as positions of queries and keys.
struct TilePlace {
  int64_t b, h;      ///< batch row and query head
  int64_t row, key;  ///< of the tile's first query and key
  int keys;          ///< columns that count; the others are hidden
};

/// Whether a warp's tile of 16 rows by `columns` keys holds pairs that do not see each other by position.
__device__ inline bool has_edge(const AttentionRules& rules, const TilePlace& at, int rows, int columns) {
  const int64_t last = at.row + rows - 1;
  return at.keys < columns || last >= rules.rows || at.key + columns > rules.end_key(at.row) ||
         at.key < rules.first_key(last);
}

/// The first multiple-of-`step` tile from `key` on (below `end`) in which any of `rows` rows sees a key by mask and
/// segments. Every thread of the block must call it.
template <bool Extras>
__device__ int64_t next_visible_keys(const AttentionRules& rules, int64_t b, int64_t h, int64_t row, int rows,
                                     int64_t key, int64_t end, int step) {
  if constexpr (Extras) {
    if (!rules.mask && !rules.q_segments) return key;
    const int rows_that_differ = rules.q_segments || rules.mask.strides[2] != 0 ? rows : 1;
    for (; key < end; key += step) {
      bool any = false;
      for (int task = thread_index(); task < rows_that_differ * step; task += thread_count()) {
        const int64_t i = row + task / step, j = key + task % step;
        any = any || (i < rules.rows && j < rules.keys && rules.sees_by_mask(b, h, i, j));
      }
      if (sync_threads_or(any)) break;
    }
  }
  return key;
}

/// Dropout's factors for two neighbouring keys j and j + 1, j even.
struct PairFactors {
  float first, second;
};
__device__ inline PairFactors dropout_pair(const AttentionRules& rules, int64_t b, int64_t h, int64_t i, int64_t j) {
  const Words words =
      attention_dropout_words(rules.dropout_key, rules.first_sample + b, rules.first_head + h, i, j / 4);
  const bool upper = j % 4 != 0;
  const auto keep = static_cast<float>(rules.keep_factor);
  return {(upper ? words.z : words.x) >= rules.dropout_threshold ? keep : 0.0f,
          (upper ? words.w : words.y) >= rules.dropout_threshold ? keep : 0.0f};
}

/// Running statistics of the two rows of a lane.
struct RowStatistics {
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};  ///< this lane's part
};

/// Applies options and hides pairs; hidden scores become −∞.
template <bool Extras, int Columns>
__device__ void finish_scores(const AttentionRules& rules, const TilePlace& at, Accumulator<Columns>& s) {
  if (!Extras && !has_edge(rules, at, 16, Columns)) return;
#pragma unroll
  for (int n = 0; n < Columns / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int column = n * 8 + column_of(e);
      const int64_t i = at.row + row_of(e), j = at.key + column;
      bool visible = column < at.keys && rules.sees_by_position(i, j);
      if constexpr (Extras) {
        visible = visible && rules.sees_by_mask(at.b, at.h, i, j);
        s[n][e] = rules.score(s[n][e], at.h, i, j).value * kLog2E;
      }
      s[n][e] = visible ? s[n][e] : -INFINITY;
    }
  }
}

/// Multiplies weights by dropout's factors.
template <int Columns>
__device__ void drop_weights(const AttentionRules& rules, const TilePlace& at, Accumulator<Columns>& p) {
#pragma unroll
  for (int n = 0; n < Columns / 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const PairFactors z = dropout_pair(rules, at.b, at.h, at.row + row_of(2 * half), at.key + n * 8 + column_of(0));
      p[n][2 * half] *= z.first;
      p[n][2 * half + 1] *= z.second;
    }
  }
}

/// One step of the online softmax: scores become weights, `o` is rescaled to the new maximum.
template <bool Extras, int Columns, int Head>
__device__ void online_softmax(const AttentionRules& rules, const TilePlace& at, Accumulator<Columns>& s,
                               RowStatistics& rows, Accumulator<Head>& o) {
  const float unit = Extras ? 1.0f : static_cast<float>(rules.scale) * kLog2E;
  float shift[2], correction[2];
  bool moved = false;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float highest = rows.max[half];
#pragma unroll
    for (int n = 0; n < Columns / 8; ++n) highest = fmaxf(highest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    highest = fmaxf(highest, shuffle_xor(highest, 2));
    highest = fmaxf(highest, shuffle_xor(highest, 1));
    shift[half] = highest == -INFINITY ? 0.0f : highest * unit;
    correction[half] = exp2_approx(rows.max[half] * unit - shift[half]);
    moved = moved || highest != rows.max[half];
    rows.max[half] = highest;
    rows.sum[half] *= correction[half];
  }
#pragma unroll
  for (int n = 0; n < Columns / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      s[n][e] = exp2_approx(s[n][e] * unit - shift[e / 2]);
      rows.sum[e / 2] += s[n][e];
    }
  }
  if (warp_any(moved)) {
#pragma unroll
    for (int n = 0; n < Head / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) o[n][e] *= correction[e / 2];
  }
  if constexpr (Extras) {
    if (rules.dropout_threshold != 0) drop_weights<Columns>(rules, at, s);
  }
}

/// What one pair contributes to the gradients: dS, and Z·P.
struct Pair {
  float ds, weight;
};
template <bool Extras>
__device__ Pair pair_gradient(const AttentionRules& rules, const TilePlace& at, int64_t i, int64_t j, bool hidden,
                              float qk, float dout_v, float lse, float delta) {
  if constexpr (!Extras) {
    const float p = exp2_approx(qk * (static_cast<float>(rules.scale) * kLog2E) - lse * kLog2E);
    return hidden ? Pair{0, 0} : Pair{p * (dout_v - delta), p};
  } else {
    if (hidden || !rules.sees_by_mask(at.b, at.h, i, j)) return {0, 0};
    const Score<float> s = rules.score(qk, at.h, i, j);
    const float p = exp2_approx((s.value - lse) * kLog2E), z = rules.dropout_factor<float>(at.b, at.h, i, j);
    return {p * ((z == 0 ? 0.0f : z * dout_v) - delta) * s.slope, z * p};
  }
}

}  // namespace tessera::sm80
