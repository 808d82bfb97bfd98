// What a kernel sees of a tensor: an address, a dtype, extents and strides (in elements). Views own nothing.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/common/dtype.h"

namespace tessera {

template <class Address, int Rank>
struct View {
  Address* data = nullptr;  ///< null: the argument is absent (only where a kernel's contract allows it)
  DType dtype = DType::f32;
  std::array<int64_t, Rank> shape{};
  std::array<int64_t, Rank> strides{};

  explicit operator bool() const { return data != nullptr; }

  int64_t numel() const {
    int64_t n = 1;
    for (const int64_t extent : shape) n *= extent;
    return n;
  }

  /// True when the elements lie one after the other in row-major order.
  bool contiguous() const {
    int64_t expected = 1;
    for (int i = Rank - 1; i >= 0; --i) {
      if (shape[i] != 1 && strides[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }

  /// The address as that of a `T`; const for an `In`.
  template <class T>
  auto* as() const {
    if constexpr (std::is_const_v<Address>) return static_cast<const T*>(data);
    else return static_cast<T*>(data);
  }
};

template <int Rank>
using In = View<const void, Rank>;
template <int Rank>
using Out = View<void, Rank>;

}  // namespace tessera
