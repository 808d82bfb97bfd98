// Attention in float by multiply-adds on tiles in shared memory, a rectangle of each result in the registers of every
// thread: 16 × 16 threads, of which thread (y, x) has rows y, y + 16, … and columns x, x + 16, … of the scores, and the
// same rows and every 16th group of four elements of what is summed. Options as in plain.cuh, whose kernels compute the
// tiles again that come out not finite: here a hidden NaN would leak.
#pragma once

#include "kernels/flash_attention/cuda/plain.cuh"

namespace tessera::blocked_attention {

inline constexpr int kThreads = 256;

/// Rows that a block owns and rows of a tile that it walks over, within 99 KiB of shared memory. The backward of larger
/// heads than 128 has no room for more than plain.cuh does.
template <int Head>
struct Sizes {
  static constexpr int kForwardOwn = Head <= 128 ? 64 : 32;
  static constexpr int kForwardWalk = Head <= 64 ? 64 : 32;
  static constexpr int kBackwardOwn = Head <= 64 ? 64 : 32;
  static constexpr int kBackwardWalk = 32;
};

__device__ inline int thread_x() { return thread_index() % 16; }
__device__ inline int thread_y() { return thread_index() / 16; }

/// Four floats, moved at once.
struct alignas(16) Four {
  float x[4];
};

/// A tile of rows, four elements longer than they are: eight rows lie in different banks.
template <int Rows, int Width>
struct Tile {
  alignas(16) float at[Rows][Width + 4];
  __device__ const Four& four(int row, int column) const { return *reinterpret_cast<const Four*>(&at[row][column]); }

  /// Rows [begin, begin + Rows) of head h, zeros where there are none and behind the head.
  __device__ void load(const Elements<4>& x, int64_t b, int64_t h, int64_t begin) {
    const int width = static_cast<int>(x.shape[3]);
    const float* base = x.as<float>() + b * x.strides[0] + h * x.strides[2];
    const bool whole = reinterpret_cast<uintptr_t>(base) % 16 == 0 && x.strides[1] % 4 == 0 && width % 4 == 0;
    for (int e = thread_index() * 4; e < Rows * Width; e += kThreads * 4) {
      const int row = e / Width, d = e % Width;
      const bool inside = begin + row < x.shape[1] && d < width;
      const float* from = base + (begin + row) * x.strides[1] + d;
      Four value{};
      if (inside && whole) {
        value = *reinterpret_cast<const Four*>(from);
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) value.x[k] = inside && d + k < width ? from[k] : 0.0f;
      }
      *reinterpret_cast<Four*>(&at[row][d]) = value;
    }
  }
};

/// s[r][c] = row (y + 16·r) of a · row (x + 16·c) of b.
template <int Rows, int Columns, int ARows, int BRows, int Width>
__device__ void multiply_rows(float (&s)[Rows][Columns], const Tile<ARows, Width>& a, const Tile<BRows, Width>& b) {
#pragma unroll
  for (int r = 0; r < Rows; ++r)
#pragma unroll
    for (int c = 0; c < Columns; ++c) s[r][c] = 0;
#pragma unroll 4
  for (int d = 0; d < Width; d += 4) {
    Four left[Rows], right[Columns];
#pragma unroll
    for (int r = 0; r < Rows; ++r) left[r] = a.four(thread_y() + 16 * r, d);
#pragma unroll
    for (int c = 0; c < Columns; ++c) right[c] = b.four(thread_x() + 16 * c, d);
#pragma unroll
    for (int r = 0; r < Rows; ++r)
#pragma unroll
      for (int c = 0; c < Columns; ++c)
#pragma unroll
        for (int k = 0; k < 4; ++k) s[r][c] += left[r].x[k] * right[c].x[k];
  }
}

/// The rows of a result that a thread sums: element 4·x + k of every group of 64.
template <int Rows, int Width>
struct Sums {
  float at[Rows][Width / 64][4];
  __device__ Sums() {
#pragma unroll
    for (int r = 0; r < Rows; ++r) scale(r, 0);
  }
  __device__ void scale(int r, float factor) {
#pragma unroll
    for (int g = 0; g < Width / 64; ++g)
#pragma unroll
      for (int k = 0; k < 4; ++k) at[r][g][k] = factor == 0 ? 0.0f : at[r][g][k] * factor;
  }

  /// += weights · b, weights [rows of the block, rows of b].
  template <int WeightRows, int BRows>
  __device__ void add(const Tile<WeightRows, BRows>& weights, const Tile<BRows, Width>& b) {
#pragma unroll 1
    for (int j = 0; j < BRows; j += 4) {
      Four left[Rows];
#pragma unroll
      for (int r = 0; r < Rows; ++r) left[r] = weights.four(thread_y() + 16 * r, j);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int g = 0; g < Width / 64; ++g) {
          const Four right = b.four(j + k, g * 64 + thread_x() * 4);
#pragma unroll
          for (int r = 0; r < Rows; ++r)
#pragma unroll
            for (int e = 0; e < 4; ++e) at[r][g][e] += left[r].x[k] * right.x[e];
        }
      }
    }
  }

  /// Writes row r, scaled, to row `row` of y; whether an element is not finite.
  __device__ bool store(const Elements<4>& y, int64_t b, int64_t h, int64_t row, int r, float factor) const {
    if (row >= y.shape[1]) return false;
    bool strange = false;
    float* to = y.as<float>() + b * y.strides[0] + row * y.strides[1] + h * y.strides[2];
#pragma unroll
    for (int g = 0; g < Width / 64; ++g) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int d = g * 64 + thread_x() * 4 + k;
        if (d >= y.shape[3]) continue;
        const float value = at[r][g][k] * factor;
        strange = strange || !isfinite(value);
        to[d] = value;
      }
    }
    return strange;
  }
};

/// Puts a thread's numbers into a tile.
template <int Rows, int Columns, int TileRows, int Width>
__device__ void put(Tile<TileRows, Width>& to, const float (&x)[Rows][Columns]) {
#pragma unroll
  for (int r = 0; r < Rows; ++r)
#pragma unroll
    for (int c = 0; c < Columns; ++c) to.at[thread_y() + 16 * r][thread_x() + 16 * c] = x[r][c];
}

template <int Head>
struct ForwardSmem {
  static constexpr int kOwn = Sizes<Head>::kForwardOwn, kWalk = Sizes<Head>::kForwardWalk;
  Tile<kOwn, Head> q;
  Tile<kWalk, Head> kv;  ///< keys, then values
  Tile<kOwn, kWalk> weights;
};

template <int Head>
__global__ void __launch_bounds__(kThreads, 1)
    forward_kernel(const __grid_constant__ AttentionArguments op, uint8_t* strange) {
  using Smem = ForwardSmem<Head>;
  constexpr int kRows = Smem::kOwn / 16, kColumns = Smem::kWalk / 16;
  auto& smem = shared_memory<Smem>();
  const AttentionRules& rules = op.rules;
  const QueryBlock<int64_t> block(op, Smem::kOwn);
  const auto [b, h, kv_head, tile, first, end] = block;
  smem.q.load(op.q, b, h, first);
  Sums<kRows, Head> o;
  float max[kRows], sum[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) max[r] = -INFINITY, sum[r] = 0;
  for (int64_t begin = rules.first_key(first) / Smem::kWalk * Smem::kWalk; begin < end; begin += Smem::kWalk) {
    sync_threads();
    smem.kv.load(op.k, b, kv_head, begin);
    sync_threads();
    float s[kRows][kColumns];
    multiply_rows(s, smem.q, smem.kv);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int64_t i = first + thread_y() + 16 * r;
      float highest = max[r];
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const int64_t j = begin + thread_x() + 16 * c;
        s[r][c] = rules.sees(b, h, i, j) ? rules.score(s[r][c], h, i, j).value : -INFINITY;
        highest = s[r][c] > highest ? s[r][c] : highest;
      }
      highest = plain_attention::row_reduce(highest, Largest{});
      const float shift = highest == -INFINITY ? 0.0f : highest, correction = expf(max[r] - shift);
      max[r] = highest;
      sum[r] *= correction;
      o.scale(r, correction);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        s[r][c] = expf(s[r][c] - shift);
        sum[r] += s[r][c];
        s[r][c] *= rules.dropout_factor<float>(b, h, i, begin + thread_x() + 16 * c);
      }
    }
    put(smem.weights, s);
    sync_threads();
    smem.kv.load(op.v, b, kv_head, begin);
    sync_threads();
    o.add(smem.weights, smem.kv);
  }
  bool not_finite = false;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int64_t i = first + thread_y() + 16 * r;
    const float total = plain_attention::row_reduce(sum[r], Plus{});
    not_finite = o.store(op.out, b, h, i, r, total == 0 ? 0.0f : 1 / total) || not_finite;
    if (op.lse && thread_x() == 0 && i < rules.rows)
      op.lse.as<float>()[b * op.lse.strides[0] + h * op.lse.strides[1] + i * op.lse.strides[2]] =
          total == 0 ? -INFINITY : max[r] + logf(total);
  }
  not_finite = sync_threads_or(not_finite);
  if (thread_index() == 0) flag_of(strange, b, h, tile) = not_finite;
}

template <int Head>
struct BackwardSmem {
  static constexpr int kOwn = Sizes<Head>::kBackwardOwn, kWalk = Sizes<Head>::kBackwardWalk;
  Tile<kOwn, Head> first, second;  ///< of the block: q and dout, or k and v
  Tile<kWalk, Head> third, fourth;
  Tile<kOwn, kWalk> weights;
  float lse[kOwn > kWalk ? kOwn : kWalk], delta[kOwn > kWalk ? kOwn : kWalk];  ///< of the queries

  /// The statistics of `count` queries from `begin` on; every thread must call it.
  __device__ void load_statistics(const AttentionArguments& op, int64_t b, int64_t h, int64_t begin, int count) {
    for (int row = thread_y(); row < count; row += 16) {
      const float value = plain_attention::delta_of<float>(op, b, h, begin + row);
      if (thread_x() != 0) continue;
      delta[row] = value;
      lse[row] = plain_attention::lse_of<float>(op, b, h, begin + row);
    }
  }
};

/// dS and Z·P of (i, j), from q·k and dout·v.
__device__ inline plain_attention::PairGradient<float> pair_of(const AttentionRules& rules, float qk, float dout_v,
                                                               float lse, float delta, int64_t b, int64_t h, int64_t i,
                                                               int64_t j) {
  if (!rules.sees(b, h, i, j)) return {0, 0};
  return plain_attention::pair_gradient(rules, qk, dout_v, lse, delta, b, h, i, j);
}

template <int Head>
__global__ void __launch_bounds__(kThreads, 1)
    dq_kernel(const __grid_constant__ AttentionArguments op, uint8_t* strange) {
  using Smem = BackwardSmem<Head>;
  constexpr int kRows = Smem::kOwn / 16, kColumns = Smem::kWalk / 16;
  auto& smem = shared_memory<Smem>();
  const AttentionRules& rules = op.rules;
  const QueryBlock<int64_t> block(op, Smem::kOwn);
  const auto [b, h, kv_head, tile, first, end] = block;
  smem.first.load(op.q, b, h, first);
  smem.second.load(op.dout, b, h, first);
  smem.load_statistics(op, b, h, first, Smem::kOwn);
  Sums<kRows, Head> dq;
  for (int64_t begin = rules.first_key(first) / Smem::kWalk * Smem::kWalk; begin < end; begin += Smem::kWalk) {
    sync_threads();
    smem.third.load(op.k, b, kv_head, begin);
    smem.fourth.load(op.v, b, kv_head, begin);
    sync_threads();
    float s[kRows][kColumns], dp[kRows][kColumns];
    multiply_rows(s, smem.first, smem.third);
    multiply_rows(dp, smem.second, smem.fourth);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = thread_y() + 16 * r;
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
        s[r][c] = pair_of(rules, s[r][c], dp[r][c], smem.lse[row], smem.delta[row], b, h, first + row,
                          begin + thread_x() + 16 * c)
                      .ds;
    }
    put(smem.weights, s);
    sync_threads();
    dq.add(smem.weights, smem.third);
  }
  bool not_finite = false;
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    not_finite = dq.store(op.dq, b, h, first + thread_y() + 16 * r, r, static_cast<float>(rules.scale)) || not_finite;
  not_finite = sync_threads_or(not_finite);
  if (thread_index() == 0) flag_of(strange, b, h, tile) = not_finite;
}

template <int Head>
__global__ void __launch_bounds__(kThreads, 1)
    dkv_kernel(const __grid_constant__ AttentionArguments op, uint8_t* strange) {
  using Smem = BackwardSmem<Head>;
  constexpr int kRows = Smem::kOwn / 16, kColumns = Smem::kWalk / 16;
  auto& smem = shared_memory<Smem>();
  const AttentionRules& rules = op.rules;
  const int64_t b = block_index().z, kv_head = block_index().y, tile = block_index().x, first = tile * Smem::kOwn;
  const int64_t group = op.q.shape[2] / op.k.shape[2];
  const int64_t end = rules.end_row(first + Smem::kOwn < rules.keys ? first + Smem::kOwn - 1 : rules.keys - 1);
  smem.first.load(op.k, b, kv_head, first);
  smem.second.load(op.v, b, kv_head, first);
  Sums<kRows, Head> dk, dv;
  for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    for (int64_t begin = rules.first_row(first) / Smem::kWalk * Smem::kWalk; begin < end; begin += Smem::kWalk) {
      sync_threads();
      smem.third.load(op.q, b, h, begin);
      smem.fourth.load(op.dout, b, h, begin);
      smem.load_statistics(op, b, h, begin, Smem::kWalk);
      sync_threads();
      float s[kRows][kColumns], dp[kRows][kColumns];
      multiply_rows(s, smem.first, smem.third);
      multiply_rows(dp, smem.second, smem.fourth);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const int column = thread_x() + 16 * c;
          const auto pair = pair_of(rules, s[r][c], dp[r][c], smem.lse[column], smem.delta[column], b, h,
                                    begin + column, first + thread_y() + 16 * r);
          s[r][c] = pair.weight;
          dp[r][c] = pair.ds;
        }
      }
      put(smem.weights, s);
      sync_threads();
      dv.add(smem.weights, smem.fourth);
      sync_threads();
      put(smem.weights, dp);
      sync_threads();
      dk.add(smem.weights, smem.third);
    }
  }
  bool not_finite = false;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int64_t j = first + thread_y() + 16 * r;
    not_finite = dk.store(op.dk, b, kv_head, j, r, static_cast<float>(rules.scale)) || not_finite;
    not_finite = dv.store(op.dv, b, kv_head, j, r, 1) || not_finite;
  }
  not_finite = sync_threads_or(not_finite);
  if (thread_index() == 0) flag_of(strange, b, kv_head, tile) = not_finite;
}

}  // namespace tessera::blocked_attention
