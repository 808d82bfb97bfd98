// Who sees whom, and what becomes of a score: the options of attention in device code, equations in flash_attention.h.
// Row i stands at key position p = i + M − N and sees the keys in [p − left, p + right] that mask and segments allow.
#pragma once

#include "kernels/common/cuda/elements.cuh"
#include "kernels/flash_attention/attention_options.h"

namespace tessera {

/// A score after softcap and ALiBi, and its slope with respect to scale·q·k.
template <class T>
struct Score {
  T value, slope;
};

struct AttentionRules {
  int64_t rows, keys;   ///< N, M
  int64_t left, right;  ///< how far a row sees; as large as needed where there is no limit
  double scale, softcap;
  Elements<1> slopes;
  Elements<4> mask;
  Elements<2> q_segments, k_segments;
  uint32_t dropout_threshold;  ///< 0: no dropout
  double keep_factor;          ///< 1/(1 − dropout)
  RandomKey dropout_key;
  int64_t first_sample, first_head;

  AttentionRules(const AttentionOptions& options, int64_t n, int64_t m)
      : rows(n),
        keys(m),
        left(options.window_left < 0 ? n + m : options.window_left),
        right(options.causal             ? 0
              : options.window_right < 0 ? n + m
                                         : options.window_right),
        scale(options.scale),
        softcap(options.softcap),
        slopes(options.alibi_slopes),
        mask(options.mask),
        q_segments(options.q_segments),
        k_segments(options.k_segments),
        dropout_threshold(options.dropout > 0 ? tessera::dropout_threshold(options.dropout) : 0),
        keep_factor(options.dropout > 0 ? 1 / (1 - static_cast<double>(options.dropout)) : 1),
        dropout_key(options.dropout_key),
        first_sample(options.first_sample),
        first_head(options.first_head) {}

  /// Whether anything beyond position limits is asked for.
  bool has_extras() const {
    return softcap != 0 || slopes.data != nullptr || mask.data != nullptr || q_segments.data != nullptr ||
           dropout_threshold != 0;
  }

  /// The keys that row i may see by position: [first_key, end_key). Both grow with i.
  __device__ int64_t first_key(int64_t i) const {
    const int64_t j = i + keys - rows - left;
    return j > 0 ? j : 0;
  }
  __device__ int64_t end_key(int64_t i) const {
    const int64_t j = i + keys - rows + right + 1;
    return j < keys ? (j > 0 ? j : 0) : keys;
  }
  /// The rows that may see key j by position: [first_row, end_row). Both grow with j.
  __device__ int64_t first_row(int64_t j) const {
    const int64_t i = j - right - (keys - rows);
    return i > 0 ? i : 0;
  }
  __device__ int64_t end_row(int64_t j) const {
    const int64_t i = j + left - (keys - rows) + 1;
    return i < rows ? (i > 0 ? i : 0) : rows;
  }

  __device__ bool sees_by_position(int64_t i, int64_t j) const {
    return i < rows && j < keys && j >= i + keys - rows - left && j <= i + keys - rows + right;
  }
  __device__ bool sees_by_mask(int64_t b, int64_t h, int64_t i, int64_t j) const {
    if (mask && !mask.as<bool>()[b * mask.strides[0] + h * mask.strides[1] + i * mask.strides[2] + j * mask.strides[3]])
      return false;
    return !q_segments || q_segments.as<int32_t>()[b * q_segments.strides[0] + i * q_segments.strides[1]] ==
                              k_segments.as<int32_t>()[b * k_segments.strides[0] + j * k_segments.strides[1]];
  }
  __device__ bool sees(int64_t b, int64_t h, int64_t i, int64_t j) const {
    return sees_by_position(i, j) && sees_by_mask(b, h, i, j);
  }

  /// From q·k to a score in natural units.
  template <class T>
  __device__ Score<T> score(T dot, int64_t h, int64_t i, int64_t j) const {
    Score<T> s{dot * static_cast<T>(scale), T(1)};
    if (softcap != 0) {
      const T t = tanh(s.value / static_cast<T>(softcap));
      s = {static_cast<T>(softcap) * t, 1 - t * t};
    }
    if (slopes) {
      const int64_t distance = i + keys - rows - j;
      s.value -= static_cast<T>(slopes.as<float>()[h * slopes.strides[0]]) *
                 static_cast<T>(distance < 0 ? -distance : distance);
    }
    return s;
  }

  /// Z: what dropout multiplies the weight of (i, j) by.
  __device__ bool keeps(int64_t b, int64_t h, int64_t i, int64_t j) const {
    if (dropout_threshold == 0) return true;
    const Words words = attention_dropout_words(dropout_key, first_sample + b, first_head + h, i, j / 4);
    const uint32_t low = j % 2 == 0 ? words.x : words.y, high = j % 2 == 0 ? words.z : words.w;
    return (j % 4 < 2 ? low : high) >= dropout_threshold;
  }
  template <class T>
  __device__ T dropout_factor(int64_t b, int64_t h, int64_t i, int64_t j) const {
    return keeps(b, h, i, j) ? static_cast<T>(keep_factor) : T(0);
  }
};

/// The arguments of both directions; what a direction does not have is absent.
struct AttentionArguments {
  Elements<4> q, k, v, out, dout, dq, dk, dv;
  Elements<3> lse;
  AttentionRules rules;
};

/// The queries of one head that a block owns: under a causal mask the blocks with the most keys come first.
template <class Index>
struct QueryBlock {
  Index b, h, kv_head, tile, first;
  Index end;  ///< of the keys that any of them sees by position

  __device__ QueryBlock(const AttentionArguments& op, Index rows)
      : b(block_index().z),
        h(block_index().y),
        kv_head(h / static_cast<Index>(op.q.shape[2] / op.k.shape[2])),
        tile(grid_size().x - 1 - block_index().x),
        first(tile * rows) {
    const Index behind = first + rows < op.rules.rows ? first + rows : static_cast<Index>(op.rules.rows);
    end = static_cast<Index>(op.rules.end_key(behind - 1));
  }
};

/// The flag of a tile whose result is not finite, [batch, heads, tiles]: the kernels of plain.cuh compute it again.
__device__ inline uint8_t& flag_of(uint8_t* flags, int64_t b, int64_t head, int64_t tile) {
  return flags[(b * grid_size().y + head) * grid_size().x + tile];
}

}  // namespace tessera
