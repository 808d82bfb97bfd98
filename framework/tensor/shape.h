// Extents (or strides) of a tensor: up to five numbers, held by value.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "kernels/common/error.h"

namespace tessera {

class Shape {
 public:
  static constexpr int kMaxRank = 5;

  Shape() = default;
  Shape(std::initializer_list<int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const int64_t> extents) {
    for (const int64_t extent : extents) push_back(extent);
  }

  int rank() const { return rank_; }
  /// Extent of axis `axis`; negative axes count from the last.
  int64_t operator[](int axis) const { return extents_[axis < 0 ? axis + rank_ : axis]; }
  int64_t& operator[](int axis) { return extents_[axis < 0 ? axis + rank_ : axis]; }
  const int64_t* begin() const { return extents_.data(); }
  const int64_t* end() const { return extents_.data() + rank_; }

  void push_back(int64_t extent) {
    expect(rank_ < kMaxRank, "tensor: at most {} axes are supported", kMaxRank);
    extents_[rank_++] = extent;
  }

  /// The product of the extents; 1 for a scalar. Error: it is above 2^60, so that the bytes could not be counted.
  int64_t numel() const;

  /// The strides, in elements, of a row-major tensor of this shape.
  Shape row_major_strides() const {
    Shape strides = *this;
    int64_t stride = 1;
    for (int axis = rank_ - 1; axis >= 0; --axis) {
      strides[axis] = stride;
      stride *= extents_[axis];
    }
    return strides;
  }

  /// The same shape with axis `axis` replaced by `extent`.
  Shape with(int axis, int64_t extent) const {
    Shape shape = *this;
    shape[axis] = extent;
    return shape;
  }

  friend bool operator==(const Shape& a, const Shape& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// "[2, 3]".
inline std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (const int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

}  // namespace tessera
