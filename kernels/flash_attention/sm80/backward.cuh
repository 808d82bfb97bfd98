// What the kernels of the backward share: the statistics of the queries, and dq summed in f32.
#pragma once

#include "kernels/flash_attention/sm80/forward.cuh"

namespace tessera::sm80 {

/// Rows of the statistics per head: full tiles, so that they can be copied 16 bytes at a time.
inline constexpr int64_t kStatisticsRows = 64;

/// For every query log Σ exp in powers of two and delta(i) = Σ_d dout·out, [B, H, N rounded up]. A query that sees
/// nothing, and one behind the end, gets +∞ and 0: its weights are 2^(s − ∞) = 0.
struct Statistics {
  float *lse, *delta;
  int64_t rows;  ///< N rounded up
};

/// `lanes` neighbours share a row: a power of two, at least 256 / kStatisticsRows, so that blocks are full.
__global__ void __launch_bounds__(256)
    statistics_kernel(const __grid_constant__ AttentionArguments op, Statistics to, int lanes) {
  const int64_t task = grid_thread() / lanes, heads = op.q.shape[2];
  const int lane = thread_index() % lanes;
  const int64_t i = task % to.rows, h = task / to.rows % heads, b = task / to.rows / heads;
  float sum = 0;
  if (i < op.rules.rows) {
    const int64_t dout = b * op.dout.strides[0] + i * op.dout.strides[1] + h * op.dout.strides[2];
    const int64_t out = b * op.out.strides[0] + i * op.out.strides[1] + h * op.out.strides[2];
    for (int64_t d = lane * kVector; d < op.q.shape[3]; d += lanes * kVector) {
      const int n = run_length(op.q.shape[3] - d);
      float left[kVector], right[kVector];
      fetch_run(op.dout, dout + d, n, left);
      fetch_run(op.out, out + d, n, right);
      widen_run(op.dout.dtype, left);
      widen_run(op.out.dtype, right);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum += left[k] * right[k];
    }
  }
  for (int mask = lanes / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
  if (lane != 0) return;
  float lse = -INFINITY;
  if (i < op.rules.rows)
    lse = op.lse.as<float>()[b * op.lse.strides[0] + h * op.lse.strides[1] + i * op.lse.strides[2]];
  to.delta[task] = lse == -INFINITY ? 0.0f : sum;
  to.lse[task] = lse == -INFINITY ? INFINITY : lse * kLog2E;
}

/// Sums of dq in f32, to which blocks add in any order: slices of 16 rows, in each groups of eight columns, of these
/// the four accumulator elements of 32 lanes, so that a warp adds to 128 neighbouring bytes.
struct DqSums {
  float* sums;     ///< [B·H, slices, groups, 4, 32]
  int64_t slices;  ///< of a head
  int groups;
  __device__ float* at(int64_t head, int64_t slice, int group, int element) const {
    return sums + (((head * slices + slice) * groups + group) * 4 + element) * 32 + lane_index();
  }
};

/// dq from its sums, a warp per slice; `strange[tile]` as in the forward.
template <class Element, int Head>
__global__ void __launch_bounds__(128)
    round_dq_kernel(const __grid_constant__ AttentionArguments op, DqSums from, uint8_t* strange) {
  const int64_t b = block_index().z, h = block_index().y, tile = block_index().x;
  const int64_t slice = tile * (thread_count() / 32) + warp_index();
  Accumulator<1, Head> dq;
  clear(dq);
  if (slice < from.slices) {
#pragma unroll
    for (int n = 0; n < Head / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) dq[0][n][e] = *from.at(b * op.q.shape[2] + h, slice, n, e);
  }
  const auto scale = static_cast<float>(op.rules.scale);
  const float factor[1][2] = {{scale, scale}};
  const bool not_finite = sync_threads_or(store_rows<Element>(op.dq, b, h, slice * 16, op.rules.rows, dq, factor));
  if (thread_index() == 0) strange[(b * grid_size().y + h) * grid_size().x + tile] = not_finite;
}

}  // namespace tessera::sm80
