// Tiles: small row-major matrices in scratch memory, and the ways in and out of them. A tile holds the accumulate dtype
// A whatever the tensors hold; its row stride is a multiple of kTileLanes, so loops over a row never need a tail.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>

#include "kernels/common/error.h"
#include "kernels/common/simd.h"
#include "kernels/flash_attention/cpu/convert_row.h"

namespace tessera::attention {

/// Rows are padded to a multiple of this many elements, whatever the width of the machine's registers.
inline constexpr int64_t kTileLanes = 16;

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

/// The positions begin … end − 1.
struct Range {
  int64_t begin;
  int64_t end;

  int64_t size() const { return end - begin; }
};

/// A rows × columns matrix whose rows lie `stride` apart.
template <class A>
struct Tile {
  A* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;

  A* row(int64_t r) const { return data + r * stride; }
  Tile first_rows(int64_t n) const { return {data, n, columns, stride}; }
  Tile row_range(Range r) const { return {data + r.begin * stride, r.size(), columns, stride}; }
  Tile column_range(Range c) const { return {data + c.begin, rows, c.size(), stride}; }
  Tile part(Range r, Range c) const { return row_range(r).column_range(c); }
  void fill(A value) const {
    for (int64_t r = 0; r < rows; ++r) std::fill_n(row(r), columns, value);
  }
  operator Tile<const A>() const { return {data, rows, columns, stride}; }
};

/// Cuts scratch memory into aligned pieces. Without an address it only counts what the pieces would take.
class Carver {
 public:
  explicit Carver(std::byte* memory = nullptr) : memory_(memory) {}

  /// `columns` rounded up to whole lanes.
  template <class A>
  Tile<A> tile(int64_t rows, int64_t columns) {
    const int64_t stride = round_up(columns, kTileLanes);
    return {take<A>(rows * stride), rows, stride, stride};
  }

  template <class A>
  A* take(int64_t count) {
    const int64_t offset = bytes_;
    bytes_ += round_up(count * static_cast<int64_t>(sizeof(A)), kAlignment);
    return memory_ ? reinterpret_cast<A*>(memory_ + offset) : nullptr;
  }

  int64_t bytes() const { return bytes_; }

  static constexpr int64_t kAlignment = 64;

 private:
  std::byte* memory_;
  int64_t bytes_ = 0;
};

/// Scratch memory of one call.
class Scratch {
 public:
  explicit Scratch(int64_t bytes)
      : memory_(static_cast<std::byte*>(::operator new(static_cast<size_t>(bytes), kAlign, std::nothrow))) {
    expect(memory_ != nullptr,
           "flash_attention: no memory for {} bytes of scratch; use smaller buckets or fewer threads", bytes);
  }
  ~Scratch() { ::operator delete(memory_, kAlign); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::byte* data() const { return memory_; }

 private:
  static constexpr std::align_val_t kAlign{Carver::kAlignment};
  std::byte* memory_;
};

/// Neighbouring positions of one head of a tensor [B, N, H, D]: rows of `width` elements, `stride` apart.
template <class T>
struct HeadRows {
  T* data;
  int64_t stride;
  int64_t width;
};

/// The rows of head h of sample b, from position n on.
template <class T, class View>
auto head_rows(const View& view, int64_t b, int64_t h, int64_t n) {
  auto* data = view.template as<T>() + b * view.strides[0] + n * view.strides[1] + h * view.strides[2];
  return HeadRows<std::remove_pointer_t<decltype(data)>>{data, view.strides[1], view.shape[3]};
}

/// Fills the rows of `to`: the first `count` from `from`, with zeros up to the tile's width; the others with zeros.
template <class T, class A>
void load_rows(HeadRows<const T> from, int64_t count, Tile<A> to) {
  for (int64_t r = 0; r < count; ++r) {
    convert_row(from.data + r * from.stride, to.row(r), from.width);
    std::fill(to.row(r) + from.width, to.row(r) + to.columns, A{0});
  }
  for (int64_t r = count; r < to.rows; ++r) std::fill_n(to.row(r), to.columns, A{0});
}

/// Writes the first `count` rows of `from`.
template <class A, class T>
void store_rows(Tile<const A> from, int64_t count, HeadRows<T> to) {
  for (int64_t r = 0; r < count; ++r) convert_row(from.row(r), to.data + r * to.stride, to.width);
}

/// Fills `to` [width, columns] with factor · fromᵀ; the columns from `count` on become zero. `staging` has kTileLanes
/// rows.
template <class T, class A>
void load_transposed(HeadRows<const T> from, int64_t count, A factor, Tile<A> staging, Tile<A> to) {
  constexpr int n = simd::kLanes<A>;
  for (int64_t first = 0; first < to.columns; first += kTileLanes) {
    const int64_t present = std::clamp<int64_t>(count - first, 0, kTileLanes);
    load_rows(HeadRows<const T>{from.data + first * from.stride, from.stride, from.width}, present, staging);
    for (int64_t r = 0; r < kTileLanes; r += n) {
      for (int64_t d = 0; d < from.width; d += n) {
        simd::Vector<A> block[n];
        for (int i = 0; i < n; ++i) block[i] = simd::load(staging.row(r + i) + d) * factor;
        simd::transpose<A>(block);
        for (int i = 0; i < n; ++i) {
          if (d + i < from.width) simd::store(to.row(d + i) + first + r, block[i]);
        }
      }
    }
  }
}

/// Writes fromᵀ, `from` [width, columns] with column c multiplied by factors[c], to the first `count` rows of `to`.
template <class A, class T>
void store_transposed(Tile<const A> from, const A* factors, int64_t count, Tile<A> staging, HeadRows<T> to) {
  constexpr int n = simd::kLanes<A>;
  for (int64_t first = 0; first < count; first += kTileLanes) {
    for (int64_t r = 0; r < kTileLanes; r += n) {
      const simd::Vector<A> factor = simd::load(factors + first + r);
      for (int64_t d = 0; d < to.width; d += n) {
        simd::Vector<A> block[n];
        for (int i = 0; i < n; ++i) {
          block[i] = d + i < to.width ? simd::load(from.row(d + i) + first + r) * factor : simd::Vector<A>{};
        }
        simd::transpose<A>(block);
        for (int i = 0; i < n; ++i) simd::store(staging.row(r + i) + d, block[i]);
      }
    }
    store_rows<A>(staging, std::min(kTileLanes, count - first),
                  HeadRows<T>{to.data + first * to.stride, to.stride, to.width});
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
