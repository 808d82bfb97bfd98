// Tiles of 16-bit elements in shared memory and the verbs on them, for warps of mma.m16n8k16 (sm_80 and newer). A row
// holds `Width` elements as chunks of 16 bytes; the chunks of a row are permuted by its number, so that the eight rows
// that one ldmatrix reads lie in different banks. A warp owns one or two slices of 16 rows of a result.
#pragma once

#include "kernels/flash_attention/cuda/rules.cuh"

namespace tessera::sm80 {

/// The rows of one head, which start at multiples of 16 bytes. A thread always copies the same chunk of every (threads
/// / chunks)-th row. Holds one address that all threads share; the rest stays with the arguments of the kernel.
template <int Width>
struct HeadRows {
  static constexpr int kChunks = Width / 8;
  const Elements<4>& x;
  const uint16_t* data;

  __device__ HeadRows(const Elements<4>& tensor, int64_t b, int64_t h)
      : x(tensor), data(tensor.as<uint16_t>() + b * x.strides[0] + h * x.strides[2]) {}
  __device__ static int chunk() { return thread_index() % kChunks; }
  /// How much of this thread's chunk exists.
  __device__ int bytes() const {
    const int left = static_cast<int>(x.shape[3]) - chunk() * 8;
    return left <= 0 ? 0 : left > 8 ? 16 : left * 2;
  }
};

template <int Rows, int Width>
struct Tile {
  static constexpr int kChunks = Width / 8;
  static constexpr int kTurned = kChunks < 8 ? kChunks : 8;  ///< neighbouring chunks that change places
  alignas(128) uint16_t elements[Rows * Width];

  /// Where chunk `chunk` of row `row` lies, as an index of elements.
  __device__ static int place(int row, int chunk) {
    return row * Width + (chunk ^ (row / (8 / kTurned) % kTurned)) * 8;
  }
  /// The place of a chunk that lies `distance` elements behind the one at `place`, whose number is even where distance
  /// is not a multiple of 8·kTurned.
  __device__ uint16_t* beside(int place, int distance) {
    return elements + (place ^ (distance % (kTurned * 8))) + distance / (kTurned * 8) * (kTurned * 8);
  }

  /// Rows [begin, begin + count) by all `Threads` threads, zeros behind the tensor's end, behind `count` and behind
  /// each row. Asynchronous: commit, wait and synchronise.
  template <int Threads>
  __device__ void load(const HeadRows<Width>& rows, int64_t begin, int count = Rows) {
    constexpr int kStep = Threads / kChunks;
    static_assert(Threads % kChunks == 0 && (Rows % kStep == 0 || kStep > Rows));
    const int64_t left = rows.x.shape[1] - begin;
    const int limit = left < count ? static_cast<int>(left) : count;
    const int first = thread_index() / kChunks, bytes = rows.bytes();
    const uint16_t* from = rows.data + (begin + first) * rows.x.strides[1] + rows.chunk() * 8;
    const auto copy = [&](const auto& bytes_of) {
#pragma unroll
      for (int row = 0; row < Rows; row += kStep) {
        if (kStep > Rows && first >= Rows) break;
        const int at = kStep % 8 == 0 ? place(first, rows.chunk()) + row * Width : place(first + row, rows.chunk());
        cp_async_16(elements + at, from, bytes_of(first + row));
        from += kStep * rows.x.strides[1];
      }
    };
    // In the middle of a tensor a copy is one instruction and the step to the next; elsewhere it is nine.
    if (limit >= Rows && rows.x.shape[3] == Width) copy([](int) { return 16; });
    else copy([&](int row) { return row < limit ? bytes : 0; });
  }

  /// Rows [row, row + 16), elements [16·k, 16·k + 16), as operand A.
  __device__ void fragment_a(int row, int k, uint32_t (&a)[4]) {
    ldmatrix_x4(a, beside(place(row + lane_index() % 16, lane_index() / 16), k * 16));
  }
  /// The transpose as operand A: elements [row, row + 16) as its rows, rows [16·k, 16·k + 16) as its columns.
  __device__ void fragment_a_transposed(int row, int k, uint32_t (&a)[4]) {
    ldmatrix_x4_transposed(
        a, elements + k * 16 * Width + place(lane_index() % 8 + lane_index() / 16 * 8, row / 8 + lane_index() / 8 % 2));
  }
  /// Rows [row, row + 16) as 16 columns of operand B, elements [16·k, 16·k + 16) as its rows: b[0], b[1] for the first
  /// 8 columns, b[2], b[3] for the others.
  __device__ void fragment_b(int row, int k, uint32_t (&b)[4]) {
    const int first = place(lane_index() % 8 + lane_index() / 16 * 8, lane_index() / 8 % 2);
    ldmatrix_x4(b, beside(first, k * 16) + row * Width);
  }
  /// Rows [row, row + 16) as rows of operand B, elements [column + 16·n, column + 16·n + 16) as its columns; `column`
  /// is a multiple of 16 and of all that is added to it.
  __device__ void fragment_b_transposed(int row, int column, int n, uint32_t (&b)[4]) {
    const int first = place(lane_index() % 16, column / 8 + lane_index() / 16);
    ldmatrix_x4_transposed(b, beside(first, n * 16) + row * Width);
  }
};

/// A warp's slices of 16 rows of a matrix of `Columns` columns, in f32: of each 8 columns a lane holds (row, column),
/// (row, column + 1), (row + 8, column), (row + 8, column + 1) with row = lane / 4 and column = 2·(lane % 4).
template <int Slices, int Columns>
using Accumulator = float[Slices][Columns / 8][4];

/// The row of element `e` of an accumulator, and its column within 8.
__device__ inline int row_of(int e) { return lane_index() / 4 + e / 2 * 8; }
__device__ inline int column_of(int e) { return lane_index() % 4 * 2 + e % 2; }

template <int Slices, int Columns>
__device__ void clear(float (&x)[Slices][Columns][4]) {
#pragma unroll
  for (int s = 0; s < Slices; ++s)
#pragma unroll
    for (int n = 0; n < Columns; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) x[s][n][e] = 0;
}

/// x += a·b for all slices and two neighbouring groups of eight columns.
template <class Element, int Slices, int Groups>
__device__ void multiply_fragments(float (&x)[Slices][Groups][4], int n, const uint32_t (&a)[Slices][4],
                                   const uint32_t (&b)[4]) {
#pragma unroll
  for (int s = 0; s < Slices; ++s) {
    mma_m16n8k16<Element>(x[s][2 * n], a[s], b[0], b[1]);
    mma_m16n8k16<Element>(x[s][2 * n + 1], a[s], b[2], b[3]);
  }
}

/// s += a·bᵀ: a warp's rows of a, from `row` on, against the rows of b from `b_row` on.
template <class Element, int Slices, int Groups, int ARows, int BRows, int Width>
__device__ void multiply_rows(float (&s)[Slices][Groups][4], Tile<ARows, Width>& a, int row, Tile<BRows, Width>& b,
                              int b_row = 0) {
  static_assert(Groups * 8 <= BRows);
#pragma unroll
  for (int k = 0; k < Width / 16; ++k) {
    uint32_t left[Slices][4];
#pragma unroll
    for (int slice = 0; slice < Slices; ++slice) a.fragment_a(row + slice * 16, k, left[slice]);
#pragma unroll
    for (int n = 0; n < Groups / 2; ++n) {
      uint32_t right[4];
      b.fragment_b(b_row + n * 16, k, right);
      multiply_fragments<Element>(s, n, left, right);
    }
  }
}

/// o += p·b: p a warp's rows over the rows of b from `b_row` on, rounded to Element.
template <class Element, int Slices, int Groups, int Rows, int Width>
__device__ void multiply_weights(float (&o)[Slices][Width / 8][4], const float (&p)[Slices][Groups][4],
                                 Tile<Rows, Width>& b, int b_row = 0) {
  static_assert(Groups * 8 <= Rows);
#pragma unroll
  for (int k = 0; k < Groups / 2; ++k) {
    uint32_t left[Slices][4];
#pragma unroll
    for (int s = 0; s < Slices; ++s)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        left[s][e] = pack<Element>(p[s][2 * k + e / 2][e % 2 * 2], p[s][2 * k + e / 2][e % 2 * 2 + 1]);
#pragma unroll
    for (int n = 0; n < Width / 16; ++n) {
      uint32_t right[4];
      b.fragment_b_transposed(b_row + k * 16, 0, n, right);
      multiply_fragments<Element>(o, n, left, right);
    }
  }
}

/// Rows [first, first + 16·Slices) of the result of a warp, scaled per row, as far as they lie before `end`; true where
/// an element that was written is not finite.
template <class Element, int Slices, int Groups>
__device__ bool store_rows(const Elements<4>& y, int64_t b, int64_t h, int64_t first, int64_t end,
                           const float (&x)[Slices][Groups][4], const float (&factor)[Slices][2]) {
  bool strange = false;
  auto* base = y.as<Element>() + b * y.strides[0] + h * y.strides[2];
  const int width = static_cast<int>(y.shape[3]);
  const bool in_pairs = (reinterpret_cast<uintptr_t>(base) % 4 == 0) && y.strides[1] % 2 == 0 && width % 2 == 0;
#pragma unroll
  for (int s = 0; s < Slices; ++s) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = first + s * 16 + row_of(2 * half);
      Element* to = base + row * y.strides[1];
#pragma unroll
      for (int n = 0; n < Groups; ++n) {
        const int column = n * 8 + column_of(0);
        if (row >= end || column >= width) continue;
        const float low = x[s][n][2 * half] * factor[s][half], high = x[s][n][2 * half + 1] * factor[s][half];
        strange = strange || !(fabsf(low) < INFINITY) || (column + 1 < width && !(fabsf(high) < INFINITY));
        if (in_pairs) {
          *reinterpret_cast<uint32_t*>(to + column) = pack<Element>(low, high);
        } else {
          to[column] = Element(low);
          if (column + 1 < width) to[column + 1] = Element(high);
        }
      }
    }
  }
  return strange;
}

}  // namespace tessera::sm80
