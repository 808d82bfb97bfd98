// What happens to a tile of scores between the two products, in the accumulators of a warp. Scores are powers of two:
// without extras they stay q·k until the exponent, with them they are scores times log₂ e.
#pragma once

#include "kernels/flash_attention/sm80/tile.cuh"

namespace tessera::sm80 {

inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;

/// Where a warp's tile lies, and how much of it counts. Positions fit into 31 bits, which saves registers; offsets of
/// elements do not.
struct TilePlace {
  int b, h;        ///< batch row and query head
  int row, key;    ///< the tile's first query and key
  int rows, keys;  ///< that count; the others are hidden
};

/// How many of a warp's `size` rows count: those of its block and of the tensor.
__device__ inline int rows_that_count(int size, int left_in_block, int64_t left) {
  const int count = left_in_block < size ? left_in_block : size;
  return left < count ? static_cast<int>(left) : count;
}

/// Who sees whom by position, in 31 bits, so that a tile in the middle costs a few instructions: query i sees the keys
/// [i + from, i + to), or transposed, key j sees such queries, as far as there are any.
template <bool Transposed>
class Sight {
 public:
  __device__ explicit Sight(const AttentionRules& rules) : length_(Transposed ? rules.rows : rules.keys) {
    constexpr int64_t kFar = int64_t{1} << 30;  // no axis is longer
    const int64_t shift = rules.keys - rules.rows;
    const int64_t from = Transposed ? -shift - rules.right : shift - rules.left;
    const int64_t to = Transposed ? rules.left - shift + 1 : shift + rules.right + 1;
    from_ = static_cast<int>(from < -kFar ? -kFar : from);
    to_ = static_cast<int>(to > kFar ? kFar : to);
  }
  /// Whether any pair of a tile sees each other.
  __device__ bool reaches(const TilePlace& at) const {
    const int first = Transposed ? at.key : at.row, last = first + (Transposed ? at.keys : at.rows) - 1;
    const int begin = Transposed ? at.row : at.key, end = begin + (Transposed ? at.rows : at.keys);
    return first <= last && begin < end && begin < length_ && begin < last + to_ && end > first + from_;
  }
  /// Whether a tile has `rows` × `keys` pairs that all do.
  __device__ bool covers(const TilePlace& at, int rows, int keys) const {
    const int first = Transposed ? at.key : at.row, last = first + (Transposed ? keys : rows) - 1;
    const int begin = Transposed ? at.row : at.key, end = begin + (Transposed ? rows : keys);
    return at.rows == rows && at.keys == keys && begin >= last + from_ && end <= first + to_ && end <= length_;
  }

 private:
  int from_, to_, length_;
};

/// Whether any pair of a tile sees each other by mask and segments. Every thread of the block must call it.
__device__ inline bool has_sight_by_mask(const AttentionRules& rules, const TilePlace& at) {
  if (!rules.mask && !rules.q_segments) return true;
  const int rows = rules.q_segments || rules.mask.strides[2] != 0 ? at.rows : 1;
  const int keys = rules.q_segments || rules.mask.strides[3] != 0 ? at.keys : 1;
  bool any = false;
  for (int task = thread_index(); task < rows * keys; task += thread_count()) {
    const int i = at.row + task / keys, j = at.key + task % keys;
    any = any || (i < rules.rows && j < rules.keys && rules.sees_by_mask(at.b, at.h, i, j));
  }
  return sync_threads_or(any);
}

/// Columns [begin, end) of a tile.
struct Columns {
  int begin, end;
  __device__ bool hold(int column) const { return column >= begin && column < end; }
};
__device__ inline int within(int64_t x, int size) { return x < 0 ? 0 : x > size ? size : static_cast<int>(x); }

/// The columns that row `row` of a tile sees by position: keys that a query sees, or transposed, queries that see a
/// key.
template <bool Transposed>
__device__ Columns columns_of(const AttentionRules& rules, const TilePlace& at, int row) {
  if constexpr (Transposed) {
    const int j = at.key + row;
    if (row >= at.keys || j >= rules.keys) return {0, 0};
    return {within(rules.first_row(j) - at.row, at.rows), within(rules.end_row(j) - at.row, at.rows)};
  } else {
    const int i = at.row + row;
    if (row >= at.rows || i >= rules.rows) return {0, 0};
    return {within(rules.first_key(i) - at.key, at.keys), within(rules.end_key(i) - at.key, at.keys)};
  }
}

/// Factors and terms of the scores of one head, in powers of two.
struct ScoreTerms {
  float scale;         ///< times log₂ e
  float inner, outer;  ///< softcap: outer · tanh(inner · q·k); outer is 0 where it is off
  float slope;         ///< of ALiBi
  __device__ ScoreTerms(const AttentionRules& rules, int64_t h)
      : scale(static_cast<float>(rules.scale) * kLog2E),
        inner(rules.softcap != 0 ? static_cast<float>(rules.scale / rules.softcap) : 0.0f),
        outer(static_cast<float>(rules.softcap) * kLog2E),
        slope(rules.slopes ? rules.slopes.as<float>()[h * rules.slopes.strides[0]] * kLog2E : 0.0f) {}

  /// The score of (i, j), whose query stands `distance` keys behind key j.
  __device__ Score<float> operator()(float qk, int distance) const {
    Score<float> s{qk * scale, 1};
    if (outer != 0) {
      const float t = 1 - 2 * reciprocal_approx(1 + exp2_approx(qk * inner * (2 * kLog2E)));
      s = {outer * t, 1 - t * t};
    }
    if (slope != 0) s.value -= slope * static_cast<float>(distance < 0 ? -distance : distance);
    return s;
  }
};

__device__ inline uint32_t word_of(const Words& words, int index) {
  const uint32_t low = index % 2 == 0 ? words.x : words.y, high = index % 2 == 0 ? words.z : words.w;
  return index < 2 ? low : high;
}

/// Dropout's words of the four elements of group `group` of eight columns. A lane computes one quarter of what it and
/// its neighbours need, or one half where rows are queries, and hands on the rest.
template <bool Transposed>
__device__ void dropout_words(const AttentionRules& rules, const TilePlace& at, int slice, int group,
                              uint32_t (&words)[4]) {
  const int lane = lane_index();
  const auto words_at = [&](int i, int j) {
    return attention_dropout_words(rules.dropout_key, rules.first_sample + at.b, rules.first_head + at.h, i, j / 4);
  };
  if constexpr (Transposed) {
    const int own = lane / 4 % 4;
    const int i = at.row + group * 8 + column_of(own), j = at.key + slice * 16 + lane / 16 * 4 + own / 2 * 8;
    const Words mine = words_at(i, j);
    uint32_t of[4] = {word_of(mine, own), 0, 0, 0};
#pragma unroll
    for (int m = 1; m < 4; ++m) of[m] = shuffle_xor(word_of(mine, own ^ m), 4 * m);
#pragma unroll
    for (int e = 0; e < 4; ++e) words[e] = word_of({of[0], of[1], of[2], of[3]}, own ^ e);
  } else {
    const bool odd = lane % 2 != 0;
    const int i = at.row + slice * 16 + row_of(odd ? 2 : 0), j = at.key + group * 8 + column_of(0);
    const Words mine = words_at(i, j);
    const uint32_t first = shuffle_xor(odd ? mine.x : mine.z, 1), second = shuffle_xor(odd ? mine.y : mine.w, 1);
    words[0] = odd ? first : mine.x;
    words[1] = odd ? second : mine.y;
    words[2] = odd ? mine.z : first;
    words[3] = odd ? mine.w : second;
  }
}

/// Dropout's factors of these elements.
template <bool Extras, bool Transposed>
__device__ void dropout_factors(const AttentionRules& rules, const TilePlace& at, int slice, int group, float (&z)[4]) {
#pragma unroll
  for (int e = 0; e < 4; ++e) z[e] = 1;
  if constexpr (Extras) {
    if (rules.dropout_threshold == 0) return;
    uint32_t words[4];
    dropout_words<Transposed>(rules, at, slice, group, words);
#pragma unroll
    for (int e = 0; e < 4; ++e) z[e] = words[e] >= rules.dropout_threshold ? static_cast<float>(rules.keep_factor) : 0;
  }
}

/// Running statistics of the rows of a lane.
template <int Slices>
struct RowStatistics {
  float max[Slices][2], sum[Slices][2];  ///< sum: this lane's part
  __device__ RowStatistics() {
#pragma unroll
    for (int s = 0; s < Slices; ++s)
#pragma unroll
      for (int half = 0; half < 2; ++half) max[s][half] = -INFINITY, sum[s][half] = 0;
  }
};

/// Hides the pairs of a tile that do not see each other by position: their scores become −∞.
template <bool Transposed, int Slices, int Groups>
__device__ void hide_by_position(const AttentionRules& rules, const TilePlace& at, float (&s)[Slices][Groups][4]) {
#pragma unroll
  for (int slice = 0; slice < Slices; ++slice) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Columns visible = columns_of<Transposed>(rules, at, slice * 16 + row_of(2 * half));
#pragma unroll
      for (int n = 0; n < Groups; ++n)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e)
          s[slice][n][e] = visible.hold(n * 8 + column_of(e)) ? s[slice][n][e] : -INFINITY;
    }
  }
}

/// Applies options and hides pairs; hidden scores become −∞.
template <bool Extras, int Slices, int Groups>
__device__ void finish_scores(const AttentionRules& rules, const ScoreTerms& terms, const Sight<false>& sight,
                              const TilePlace& at, float (&s)[Slices][Groups][4]) {
  if constexpr (Extras) {
    const int shift = static_cast<int>(rules.keys - rules.rows);
#pragma unroll
    for (int slice = 0; slice < Slices; ++slice) {
#pragma unroll
      for (int n = 0; n < Groups; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int i = at.row + slice * 16 + row_of(e), j = at.key + n * 8 + column_of(e);
          const bool sees = i < rules.rows && j < rules.keys && rules.sees_by_mask(at.b, at.h, i, j);
          s[slice][n][e] = sees ? terms(s[slice][n][e], i + shift - j).value : -INFINITY;
        }
      }
    }
  }
  if (!sight.covers(at, Slices * 16, Groups * 8)) hide_by_position<false>(rules, at, s);
}

/// One step of the online softmax: scores become weights, `o` is rescaled to the new maximum. `unit` turns a score into
/// a power of two.
template <int Slices, int Groups, int Width>
__device__ void online_softmax(float unit, float (&s)[Slices][Groups][4], RowStatistics<Slices>& rows,
                               float (&o)[Slices][Width][4]) {
#pragma unroll
  for (int slice = 0; slice < Slices; ++slice) {
    float correction[2];
    bool moved = false;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float highest = rows.max[slice][half];
#pragma unroll
      for (int n = 0; n < Groups; ++n)
        highest = fmaxf(highest, fmaxf(s[slice][n][2 * half], s[slice][n][2 * half + 1]));
      highest = fmaxf(highest, shuffle_xor(highest, 2));
      highest = fmaxf(highest, shuffle_xor(highest, 1));
      const float shift = highest == -INFINITY ? 0.0f : highest * unit;
      correction[half] = exp2_approx(rows.max[slice][half] * unit - shift);
      moved = moved || highest != rows.max[slice][half];
      rows.max[slice][half] = highest;
      float sum = rows.sum[slice][half] * correction[half];
#pragma unroll
      for (int n = 0; n < Groups; ++n) {
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          s[slice][n][e] = exp2_approx(s[slice][n][e] * unit - shift);
          sum += s[slice][n][e];
        }
      }
      rows.sum[slice][half] = sum;
    }
    if (!warp_any(moved)) continue;
#pragma unroll
    for (int n = 0; n < Width; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) o[slice][n][e] *= correction[e / 2];
  }
}

/// Multiplies weights by dropout's factors.
template <bool Extras, int Slices, int Groups>
__device__ void drop_weights(const AttentionRules& rules, const TilePlace& at, float (&p)[Slices][Groups][4]) {
  if constexpr (Extras) {
    if (rules.dropout_threshold == 0) return;
#pragma unroll
    for (int slice = 0; slice < Slices; ++slice) {
#pragma unroll
      for (int n = 0; n < Groups; ++n) {
        float z[4];
        dropout_factors<Extras, false>(rules, at, slice, n, z);
#pragma unroll
        for (int e = 0; e < 4; ++e) p[slice][n][e] *= z[e];
      }
    }
  }
}

/// The statistics of one query: log Σ exp in powers of two (+∞ hides the query), and delta.
struct QueryStatistics {
  float lse, delta;
};

/// From q·k in `s` and dout·v in `dp` to Z·P and dS. `statistics(slice, group, e)` are those of an element's query.
template <bool Extras, bool Transposed, int Slices, int Groups, class Statistics>
__device__ void softmax_gradient(const AttentionRules& rules, const ScoreTerms& terms, const Sight<Transposed>& sight,
                                 const TilePlace& at, float (&s)[Slices][Groups][4], float (&dp)[Slices][Groups][4],
                                 const Statistics& statistics) {
  const bool whole = Transposed ? sight.covers(at, Groups * 8, Slices * 16) : sight.covers(at, Slices * 16, Groups * 8);
  if (!Extras && !whole) hide_by_position<Transposed>(rules, at, s);
#pragma unroll
  for (int slice = 0; slice < Slices; ++slice) {
    Columns visible[2] = {{0, Groups * 8}, {0, Groups * 8}};
    if (Extras && !whole) {
#pragma unroll
      for (int half = 0; half < 2; ++half)
        visible[half] = columns_of<Transposed>(rules, at, slice * 16 + row_of(2 * half));
    }
#pragma unroll
    for (int n = 0; n < Groups; ++n) {
      float z[4];
      dropout_factors<Extras, Transposed>(rules, at, slice, n, z);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const QueryStatistics query = statistics(slice, n, e);
        float& weight = s[slice][n][e];
        float& ds = dp[slice][n][e];
        if constexpr (Extras) {
          const int row = slice * 16 + row_of(e), column = n * 8 + column_of(e);
          const int i = at.row + (Transposed ? column : row), j = at.key + (Transposed ? row : column);
          const bool hidden = !visible[e / 2].hold(column) || i >= rules.rows || j >= rules.keys ||
                              !rules.sees_by_mask(at.b, at.h, i, j);
          const Score<float> score = terms(weight, i + static_cast<int>(rules.keys - rules.rows) - j);
          const float p = exp2_approx(score.value - query.lse);
          weight = hidden ? 0.0f : z[e] * p;
          ds = hidden ? 0.0f : p * ((z[e] == 0 ? 0.0f : z[e] * ds) - query.delta) * score.slope;
        } else {  // what is hidden weighs 2^−∞
          weight = exp2_approx(weight * terms.scale - query.lse);
          ds = weight * (ds - query.delta);
        }
      }
    }
  }
}

}  // namespace tessera::sm80
