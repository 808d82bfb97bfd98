// Attention by plain multiply-adds in float or double, for every dtype: the path of f32 and f64, and of those 16-bit
// tiles whose result is not finite (a hidden NaN or infinity must not leak, which a matrix instruction cannot promise).
// A block of 256 threads owns 16 rows (queries, or keys in the backward of k and v) and walks over tiles of 16 of the
// other side; 16 threads share a row, each with one score of a tile and every 16th element of the head.
#pragma once

#include "kernels/common/cuda/reduce.cuh"
#include "kernels/flash_attention/cuda/rules.cuh"

namespace tessera::plain_attention {

inline constexpr int kTile = 16;
inline constexpr int kThreads = kTile * kTile;

template <class T, int Head>
using Tile = T[kTile][Head + 1];

/// Rows [begin, begin + 16) of head `h`, zeros where there are none and behind the head.
template <class T, int Head>
__device__ void load_tile(const Elements<4>& x, int64_t b, int64_t h, int64_t begin, Tile<T, Head>& to) {
  for (int e = thread_index(); e < kTile * Head; e += kThreads) {
    const int64_t row = begin + e / Head, d = e % Head;
    const bool inside = row < x.shape[1] && d < x.shape[3];
    to[e / Head][d] =
        inside ? load_one<T>(x, b * x.strides[0] + row * x.strides[1] + h * x.strides[2] + d * x.strides[3]) : T(0);
  }
}

template <class T, int Head>
__device__ T dot(const T (&a)[Head + 1], const T (&b)[Head + 1]) {
  T sum = 0;
#pragma unroll 8
  for (int d = 0; d < Head; ++d) sum += a[d] * b[d];
  return sum;
}

/// Over the 16 threads of a row.
template <class T, class Combine>
__device__ T row_reduce(T value, Combine combine) {
#pragma unroll
  for (int mask = 8; mask > 0; mask /= 2) value = combine(value, shuffle_xor(value, mask));
  return value;
}

/// Every 16th element of a row, from element `thread % 16` on.
template <class T, int Head>
__device__ void store_row(const Elements<4>& y, int64_t b, int64_t h, int64_t row, const T (&values)[Head / kTile],
                          T factor) {
  if (row >= y.shape[1]) return;
#pragma unroll
  for (int t = 0; t < Head / kTile; ++t) {
    const int64_t d = thread_index() % kTile + t * kTile;
    if (d < y.shape[3])
      store_one(y, b * y.strides[0] + row * y.strides[1] + h * y.strides[2] + d * y.strides[3], values[t] * factor);
  }
}

/// Σ_d dout · out of row i, in every thread of the row.
template <class T>
__device__ T delta_of(const AttentionArguments& op, int64_t b, int64_t h, int64_t i) {
  T sum = 0;
  for (int64_t d = thread_index() % kTile; i < op.rules.rows && d < op.q.shape[3]; d += kTile) {
    sum += load_one<T>(op.dout, b * op.dout.strides[0] + i * op.dout.strides[1] + h * op.dout.strides[2] +
                                    d * op.dout.strides[3]) *
           load_one<T>(op.out,
                       b * op.out.strides[0] + i * op.out.strides[1] + h * op.out.strides[2] + d * op.out.strides[3]);
  }
  return row_reduce(sum, Plus{});
}

template <class T>
__device__ T lse_of(const AttentionArguments& op, int64_t b, int64_t h, int64_t i) {
  return i < op.rules.rows ? op.lse.as<T>()[b * op.lse.strides[0] + h * op.lse.strides[1] + i * op.lse.strides[2]]
                           : T(0);
}

/// What a block computes: 16 rows, or a tile that was flagged.
struct Filter {
  uint8_t* flags = nullptr;  ///< [batch, heads, tiles]; null: all
  int64_t rows = kTile;      ///< of a block; a multiple of 16

  /// Calls body(first) for every 16 of `length` rows that this block has to compute.
  template <class Body>
  __device__ void for_each(int64_t length, const Body& body) const {
    const int64_t begin = block_index().x * rows, end = begin + rows < length ? begin + rows : length;
    if (flags != nullptr && flag_of(flags, block_index().z, block_index().y, block_index().x) == 0) return;
    for (int64_t first = begin; first < end; first += kTile) body(first);
  }
};

template <class T, int Head>
struct ForwardSmem {
  Tile<T, Head> q, k, v;
  T weight[kTile][kTile];
  bool visible[kTile][kTile];
};

/// The output of 16 queries from `first` on.
template <class T, int Head>
__device__ void forward_rows(const AttentionArguments& op, int64_t first) {
  auto& smem = shared_memory<ForwardSmem<T, Head>>();
  const AttentionRules& rules = op.rules;
  const int64_t b = block_index().z, h = block_index().y, kv_head = h / (op.q.shape[2] / op.k.shape[2]);
  const int row = thread_index() / kTile, column = thread_index() % kTile;
  const int64_t i = first + row;
  const int64_t end = rules.end_key(first + kTile - 1 < rules.rows ? first + kTile - 1 : rules.rows - 1);
  load_tile<T, Head>(op.q, b, h, first, smem.q);
  T max = -INFINITY, sum = 0, o[Head / kTile] = {};
  for (int64_t begin = rules.first_key(first) / kTile * kTile; begin < end; begin += kTile) {
    sync_threads();
    load_tile<T, Head>(op.k, b, kv_head, begin, smem.k);
    load_tile<T, Head>(op.v, b, kv_head, begin, smem.v);
    sync_threads();
    const int64_t j = begin + column;
    const bool visible = rules.sees(b, h, i, j);
    const T s = visible ? rules.score(dot<T, Head>(smem.q[row], smem.k[column]), h, i, j).value : -INFINITY;
    const T highest = row_reduce(s > max ? s : max, Largest{});
    const T shift = highest == -INFINITY ? T(0) : highest;
    const T correction = exp(max - shift);
    const T p = visible ? exp(s - shift) : T(0);
    max = highest;
    sum = sum * correction + p;
    smem.visible[row][column] = visible;
    smem.weight[row][column] = visible ? p * rules.dropout_factor<T>(b, h, i, j) : T(0);
    sync_threads();
#pragma unroll
    for (int t = 0; t < Head / kTile; ++t) o[t] *= correction;
    for (int c = 0; c < kTile; ++c) {
      if (!smem.visible[row][c]) continue;
      const T weight = smem.weight[row][c];
#pragma unroll
      for (int t = 0; t < Head / kTile; ++t) o[t] += weight * smem.v[c][column + t * kTile];
    }
  }
  sum = row_reduce(sum, Plus{});
  store_row<T, Head>(op.out, b, h, i, o, sum == 0 ? T(0) : 1 / sum);
  if (op.lse && column == 0 && i < rules.rows)
    op.lse.as<T>()[b * op.lse.strides[0] + h * op.lse.strides[1] + i * op.lse.strides[2]] =
        sum == 0 ? -INFINITY : max + log(sum);
}

template <class T, int Head>
__global__ void __launch_bounds__(kThreads, 1)
    forward_kernel(const __grid_constant__ AttentionArguments op, Filter filter) {
  filter.for_each(op.rules.rows, [&](int64_t first) { forward_rows<T, Head>(op, first); });
}

/// P, dS and Z·P of one pair.
template <class T>
struct PairGradient {
  T ds, weight;
};
template <class T>
__device__ PairGradient<T> pair_gradient(const AttentionRules& rules, T qk, T dout_v, T lse, T delta, int64_t b,
                                         int64_t h, int64_t i, int64_t j) {
  const Score<T> s = rules.score(qk, h, i, j);
  const T p = exp(s.value - lse), z = rules.dropout_factor<T>(b, h, i, j);
  return {p * ((z == 0 ? T(0) : z * dout_v) - delta) * s.slope, z * p};
}

template <class T, int Head>
struct DqSmem {
  Tile<T, Head> q, dout, k, v;
  T ds[kTile][kTile];
  bool visible[kTile][kTile];
};

/// dq of 16 queries from `first` on.
template <class T, int Head>
__device__ void dq_rows(const AttentionArguments& op, int64_t first) {
  auto& smem = shared_memory<DqSmem<T, Head>>();
  const AttentionRules& rules = op.rules;
  const int64_t b = block_index().z, h = block_index().y, kv_head = h / (op.q.shape[2] / op.k.shape[2]);
  const int row = thread_index() / kTile, column = thread_index() % kTile;
  const int64_t i = first + row;
  const int64_t end = rules.end_key(first + kTile - 1 < rules.rows ? first + kTile - 1 : rules.rows - 1);
  load_tile<T, Head>(op.q, b, h, first, smem.q);
  load_tile<T, Head>(op.dout, b, h, first, smem.dout);
  const T delta = delta_of<T>(op, b, h, i), lse = lse_of<T>(op, b, h, i);
  T dq[Head / kTile] = {};
  for (int64_t begin = rules.first_key(first) / kTile * kTile; begin < end; begin += kTile) {
    sync_threads();
    load_tile<T, Head>(op.k, b, kv_head, begin, smem.k);
    load_tile<T, Head>(op.v, b, kv_head, begin, smem.v);
    sync_threads();
    const int64_t j = begin + column;
    const bool visible = rules.sees(b, h, i, j);
    smem.visible[row][column] = visible;
    if (visible) {
      smem.ds[row][column] = pair_gradient(rules, dot<T, Head>(smem.q[row], smem.k[column]),
                                           dot<T, Head>(smem.dout[row], smem.v[column]), lse, delta, b, h, i, j)
                                 .ds;
    }
    sync_threads();
    for (int c = 0; c < kTile; ++c) {
      if (!smem.visible[row][c]) continue;
      const T ds = smem.ds[row][c];
#pragma unroll
      for (int t = 0; t < Head / kTile; ++t) dq[t] += ds * smem.k[c][column + t * kTile];
    }
  }
  store_row<T, Head>(op.dq, b, h, i, dq, static_cast<T>(rules.scale));
}

template <class T, int Head>
__global__ void __launch_bounds__(kThreads, 1) dq_kernel(const __grid_constant__ AttentionArguments op, Filter filter) {
  filter.for_each(op.rules.rows, [&](int64_t first) { dq_rows<T, Head>(op, first); });
}

template <class T, int Head>
struct DkvSmem {
  Tile<T, Head> q, dout, k, v;
  T ds[kTile][kTile], weight[kTile][kTile];
  T lse[kTile], delta[kTile];
  bool visible[kTile][kTile];
};

/// dk and dv of 16 keys from `first` on.
template <class T, int Head>
__device__ void dkv_rows(const AttentionArguments& op, int64_t first) {
  auto& smem = shared_memory<DkvSmem<T, Head>>();
  const AttentionRules& rules = op.rules;
  const int64_t b = block_index().z, kv_head = block_index().y, group = op.q.shape[2] / op.k.shape[2];
  const int row = thread_index() / kTile, column = thread_index() % kTile;
  const int64_t j = first + row;
  const int64_t end = rules.end_row(first + kTile - 1 < rules.keys ? first + kTile - 1 : rules.keys - 1);
  load_tile<T, Head>(op.k, b, kv_head, first, smem.k);
  load_tile<T, Head>(op.v, b, kv_head, first, smem.v);
  T dk[Head / kTile] = {}, dv[Head / kTile] = {};
  for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    for (int64_t begin = rules.first_row(first) / kTile * kTile; begin < end; begin += kTile) {
      sync_threads();
      load_tile<T, Head>(op.q, b, h, begin, smem.q);
      load_tile<T, Head>(op.dout, b, h, begin, smem.dout);
      const T delta = delta_of<T>(op, b, h, begin + row);
      if (column == 0) {
        smem.delta[row] = delta;
        smem.lse[row] = lse_of<T>(op, b, h, begin + row);
      }
      sync_threads();
      const int64_t i = begin + column;
      const bool visible = rules.sees(b, h, i, j);
      smem.visible[row][column] = visible;
      if (visible) {
        const PairGradient<T> pair = pair_gradient(rules, dot<T, Head>(smem.q[column], smem.k[row]),
                                                   dot<T, Head>(smem.dout[column], smem.v[row]), smem.lse[column],
                                                   smem.delta[column], b, h, i, j);
        smem.ds[row][column] = pair.ds;
        smem.weight[row][column] = pair.weight;
      }
      sync_threads();
      for (int c = 0; c < kTile; ++c) {
        if (!smem.visible[row][c]) continue;
        const T ds = smem.ds[row][c], weight = smem.weight[row][c];
#pragma unroll
        for (int t = 0; t < Head / kTile; ++t) {
          dk[t] += ds * smem.q[c][column + t * kTile];
          dv[t] += weight * smem.dout[c][column + t * kTile];
        }
      }
    }
  }
  store_row<T, Head>(op.dk, b, kv_head, j, dk, static_cast<T>(rules.scale));
  store_row<T, Head>(op.dv, b, kv_head, j, dv, T(1));
}

template <class T, int Head>
__global__ void __launch_bounds__(kThreads, 1)
    dkv_kernel(const __grid_constant__ AttentionArguments op, Filter filter) {
  filter.for_each(op.rules.keys, [&](int64_t first) { dkv_rows<T, Head>(op, first); });
}

}  // namespace tessera::plain_attention
