// Tiles of 16-bit elements in shared memory and the verbs on them, for warps of mma.m16n8k16 (sm_80 and newer). A row
// holds `Head` elements as chunks of 16 bytes; the chunks of a row are permuted by its number, so that the eight rows
// that one ldmatrix reads lie in different banks. Every warp owns 16 rows of the result.
#pragma once

#include "kernels/flash_attention/cuda/rules.cuh"

namespace tessera::sm80 {

/// One row of Elements<4>: the heads of batch row b, head h.
struct HeadRows {
  const char* data;    ///< element (b, 0, h, 0)
  int64_t row_stride;  ///< in elements
  int64_t rows;
  int size;      ///< elements per row
  bool aligned;  ///< rows start at multiples of 16 bytes

  __device__ HeadRows(const Elements<4>& x, int64_t b, int64_t h)
      : data(x.data + (b * x.strides[0] + h * x.strides[2]) * 2),
        row_stride(x.strides[1]),
        rows(x.shape[1]),
        size(static_cast<int>(x.shape[3])),
        aligned(reinterpret_cast<uintptr_t>(data) % 16 == 0 && row_stride % 8 == 0) {}
};

template <int Rows, int Head>
struct Tile {
  static constexpr int kChunks = Head / 8;
  alignas(128) uint16_t elements[Rows * Head];

  /// Where chunk `chunk` of row `row` lies.
  __device__ uint16_t* at(int row, int chunk) {
    const int turned = kChunks % 8 == 0 ? chunk ^ (row & 7) : chunk ^ ((row >> 1) & 3);
    return elements + (row * kChunks + turned) * 8;
  }

  /// Rows [begin, begin + count) of x, zeros behind its end, behind `count` and behind each row. Asynchronous: commit,
  /// wait and synchronise.
  __device__ void load(const HeadRows& x, int64_t begin, int count = Rows) {
    for (int task = thread_index(); task < Rows * kChunks; task += thread_count()) {
      const int row = task / kChunks, chunk = task % kChunks;
      const bool inside = row < count && begin + row < x.rows;
      const char* from = x.data + (inside ? (begin + row) * x.row_stride + chunk * 8 : 0) * 2;
      const int left = inside ? x.size - chunk * 8 : 0;
      const int elements_left = left < 0 ? 0 : left > 8 ? 8 : left;
      uint16_t* to = at(row, chunk);
      if (x.aligned) {
        cp_async_16(to, elements_left > 0 ? from : x.data, elements_left * 2);
      } else {
#pragma unroll
        for (int e = 0; e < 8; ++e)
          to[e] = e < elements_left ? reinterpret_cast<const uint16_t*>(from)[e] : uint16_t{0};
      }
    }
  }

  /// Rows [row, row + 16), elements [16·k, 16·k + 16), as operand A.
  __device__ void fragment_a(int row, int k, uint32_t (&a)[4]) {
    ldmatrix_x4(a, at(row + lane_index() % 16, 2 * k + lane_index() / 16));
  }
  /// Rows [row, row + 16) as 16 columns of operand B, elements [16·k, 16·k + 16) as its rows: b[0], b[1] for the first
  /// 8 columns, b[2], b[3] for the others.
  __device__ void fragment_b(int row, int k, uint32_t (&b)[4]) {
    ldmatrix_x4(b, at(row + lane_index() % 8 + lane_index() / 16 * 8, 2 * k + lane_index() / 8 % 2));
  }
  /// Rows [row, row + 16) as rows of operand B, elements [16·n, 16·n + 16) as its columns.
  __device__ void fragment_b_transposed(int row, int n, uint32_t (&b)[4]) {
    ldmatrix_x4_transposed(b, at(row + lane_index() % 16, 2 * n + lane_index() / 16));
  }
};

/// A warp's 16 rows of a matrix of `Columns` columns, in f32: of each 8 columns a lane holds (row, column), (row,
/// column + 1), (row + 8, column), (row + 8, column + 1) with row = lane / 4 and column = 2·(lane % 4).
template <int Columns>
using Accumulator = float[Columns / 8][4];

/// The row of element `e` of an accumulator, and its column within 8.
__device__ inline int row_of(int e) { return lane_index() / 4 + e / 2 * 8; }
__device__ inline int column_of(int e) { return lane_index() % 4 * 2 + e % 2; }

template <int Columns>
__device__ void clear(Accumulator<Columns>& x) {
#pragma unroll
  for (int n = 0; n < Columns / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) x[n][e] = 0;
}

/// s += a·bᵀ: rows [row, row + 16) of a against all rows of b, over the head.
template <class Element, int ARows, int BRows, int Head>
__device__ void multiply_rows(Accumulator<BRows>& s, Tile<ARows, Head>& a, int row, Tile<BRows, Head>& b) {
#pragma unroll
  for (int k = 0; k < Head / 16; ++k) {
    uint32_t left[4];
    a.fragment_a(row, k, left);
#pragma unroll
    for (int n = 0; n < BRows / 16; ++n) {
      uint32_t right[4];
      b.fragment_b(n * 16, k, right);
      mma_m16n8k16<Element>(s[2 * n], left, right[0], right[1]);
      mma_m16n8k16<Element>(s[2 * n + 1], left, right[2], right[3]);
    }
  }
}

/// o += p·b: p a warp's 16 rows over the rows of b, rounded to Element.
template <class Element, int Rows, int Head>
__device__ void multiply_weights(Accumulator<Head>& o, const Accumulator<Rows>& p, Tile<Rows, Head>& b) {
#pragma unroll
  for (int k = 0; k < Rows / 16; ++k) {
    const uint32_t left[4] = {pack<Element>(p[2 * k][0], p[2 * k][1]), pack<Element>(p[2 * k][2], p[2 * k][3]),
                              pack<Element>(p[2 * k + 1][0], p[2 * k + 1][1]),
                              pack<Element>(p[2 * k + 1][2], p[2 * k + 1][3])};
#pragma unroll
    for (int n = 0; n < Head / 16; ++n) {
      uint32_t right[4];
      b.fragment_b_transposed(k * 16, n, right);
      mma_m16n8k16<Element>(o[2 * n], left, right[0], right[1]);
      mma_m16n8k16<Element>(o[2 * n + 1], left, right[2], right[3]);
    }
  }
}

/// Writes a warp's rows, scaled per row (factor[0] for lane / 4, factor[1] for lane / 4 + 8); true where an element
/// that was written is not finite.
template <class Element, int Head>
__device__ bool store_rows(const Elements<4>& y, int64_t b, int64_t h, int64_t first, const Accumulator<Head>& x,
                           const float (&factor)[2]) {
  bool strange = false;
  auto* base = y.as<Element>() + b * y.strides[0] + h * y.strides[2];
  const bool in_pairs = (reinterpret_cast<uintptr_t>(base) % 4 == 0) && y.strides[1] % 2 == 0 && y.shape[3] % 2 == 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t row = first + lane_index() / 4 + half * 8;
    if (row >= y.shape[1]) continue;
    Element* to = base + row * y.strides[1];
#pragma unroll
    for (int n = 0; n < Head / 8; ++n) {
      const int column = n * 8 + lane_index() % 4 * 2;
      const float low = x[n][2 * half] * factor[half], high = x[n][2 * half + 1] * factor[half];
      if (column >= y.shape[3]) continue;
      strange = strange || !(fabsf(low) < INFINITY) || (column + 1 < y.shape[3] && !(fabsf(high) < INFINITY));
      if (in_pairs) {
        *reinterpret_cast<uint32_t*>(to + column) = pack<Element>(low, high);
      } else {
        to[column] = Element(low);
        if (column + 1 < y.shape[3]) to[column + 1] = Element(high);
      }
    }
  }
  return strange;
}

}  // namespace tessera::sm80
