// The ways in and out of a tile, converting between the dtype T of the tensors and the tile's A, and simple passes over
// it.
#pragma once

#include "kernels/flash_attention/cpu/lane_io.h"
#include "kernels/flash_attention/cpu/tile.h"

namespace tessera::attention {

/// Neighbouring positions of one head of a tensor [B, N, H, D]: rows of `width` elements, `stride` apart.
template <class T>
struct HeadRows {
  T* data;
  int64_t stride;
  int64_t width;

  HeadRows from(int64_t row) const { return {data + row * stride, stride, width}; }
};

/// The rows of head h of sample b, from position n on.
template <class T, class View>
auto head_rows(const View& view, int64_t b, int64_t h, int64_t n) {
  auto* data = view.template as<T>() + b * view.strides[0] + n * view.strides[1] + h * view.strides[2];
  return HeadRows<std::remove_pointer_t<decltype(data)>>{data, view.strides[1], view.shape[3]};
}

/// Rows that will be wanted soon. Heads lie far apart in memory, so the machine does not see by itself which lines come
/// next. It is asked for them a few at a time, between other work: of a burst it drops what exceeds its buffers.
template <class T>
struct RowsAhead {
  HeadRows<T> rows;
  int64_t count;

  /// Always inlined: GCC drops calls of functions that do nothing but this.
  [[gnu::always_inline]] void prefetch() {
    constexpr int64_t kLine = 64 / sizeof(T), kRowsAtOnce = 4;
    const int64_t now = std::min(count, kRowsAtOnce);
    for (int64_t r = 0; r < now; ++r) {
      for (int64_t d = 0; d < rows.width; d += kLine) __builtin_prefetch(rows.data + r * rows.stride + d);
    }
    rows = rows.from(now);
    count -= now;
  }
};

/// Fills the rows of `to` from `from`, each with zeros from its width on.
template <class T, class A>
[[gnu::noinline]] void load_rows(HeadRows<const T> from, Tile<A> to) {
  for (int64_t r = 0; r < to.rows; ++r) {
    for (int64_t d = 0; d < to.columns; d += simd::kLanes<A>) {
      simd::store(to.row(r) + d, load_lanes<A>(from.data + r * from.stride + d, from.width - d));
    }
  }
}

/// Writes the rows of `from`.
template <class A, class T>
[[gnu::noinline]] void store_rows(Tile<const A> from, HeadRows<T> to) {
  for (int64_t r = 0; r < from.rows; ++r) {
    for (int64_t d = 0; d < to.width; d += simd::kLanes<A>) {
      store_lanes(to.data + r * to.stride + d, simd::load(from.row(r) + d), to.width - d);
    }
  }
}

/// Fills `to` [width, columns] with factor · fromᵀ; the columns from `count` on become zero.
template <class T, class A>
[[gnu::noinline]] void load_transposed(HeadRows<const T> from, int64_t count, A factor, Tile<A> to) {
  constexpr int n = simd::kLanes<A>;
  for (int64_t r = 0; r < to.columns; r += n) {
    const T* rows = from.data + r * from.stride;
    for (int64_t d = 0; d < from.width; d += n) {
      simd::Vector<A> block[n];
      for (int i = 0; i < n; ++i) {
        const int64_t present = r + i < count ? from.width - d : 0;
        block[i] = present > 0 ? load_lanes<A>(rows + i * from.stride + d, present) * factor : simd::Vector<A>{};
        __builtin_prefetch(rows + (n + i) * from.stride + d);
      }
      simd::transpose<A>(block);
      for (int i = 0; i < n && d + i < from.width; ++i) simd::store(to.row(d + i) + r, block[i]);
    }
  }
}

/// Writes fromᵀ, `from` [width, columns] with column c multiplied by factors[c], to the first `count` rows of `to`.
template <class A, class T>
[[gnu::noinline]] void store_transposed(Tile<const A> from, const A* factors, int64_t count, HeadRows<T> to) {
  constexpr int n = simd::kLanes<A>;
  for (int64_t r = 0; r < count; r += n) {
    const simd::Vector<A> factor = simd::load(factors + r);
    T* rows = to.data + r * to.stride;
    for (int64_t d = 0; d < to.width; d += n) {
      simd::Vector<A> block[n];
      for (int i = 0; i < n; ++i) {
        block[i] = d + i < to.width ? simd::load(from.row(d + i) + r) * factor : simd::Vector<A>{};
      }
      simd::transpose<A>(block);
      for (int i = 0; i < n && r + i < count; ++i) store_lanes(rows + i * to.stride + d, block[i], to.width - d);
    }
  }
}

/// Multiplies each row of `tile` by a row of factors; `step` 0 takes the first row of factors for all.
template <class A>
void multiply_rows(Tile<A> tile, Tile<const A> factors, int64_t step) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const A* by = factors.data + r * step;
    for (int64_t c = 0; c < tile.columns; c += simd::kLanes<A>) {
      simd::store(tile.row(r) + c, simd::load(tile.row(r) + c) * simd::load(by + c));
    }
  }
}

/// False if an element of the tile is infinite or NaN.
template <class A>
bool all_finite(Tile<const A> tile) {
  simd::Vector<A> zeros{};
  for (int64_t r = 0; r < tile.rows; ++r) {
    for (int64_t c = 0; c < tile.columns; c += simd::kLanes<A>) zeros += simd::load(tile.row(r) + c) * A{0};
  }
  A sum = 0;
  for (int i = 0; i < simd::kLanes<A>; ++i) sum += zeros[i];
  return sum == 0;
}

}  // namespace tessera::attention
