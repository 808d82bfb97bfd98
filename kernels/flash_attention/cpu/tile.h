// Tiles: small row-major matrices in scratch memory, and the ways in and out of them. A tile holds the accumulate dtype
// A whatever the tensors hold; its row stride is a multiple of kTileLanes, so loops over a row never need a tail.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

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

}  // namespace tessera::attention
