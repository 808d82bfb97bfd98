// Converts neighbouring elements from any dtype to any other, by the rules of memory.h.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/common/select.h"

namespace tessera {

/// to[i] = from[i] for n elements, on the calling thread; the ranges do not overlap.
void convert(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n);

/// One element, converted.
template <class To, class From>
To convert_one(From from) {
  if constexpr (std::is_class_v<From>) return convert_one<To>(static_cast<float>(from));
  else if constexpr (std::is_class_v<To>) return To(static_cast<float>(from));
  else if constexpr (std::is_same_v<To, bool>) return from != From{0};
  else return static_cast<To>(from);
}

/// `select` over all dtypes.
template <class Body>
void select_any(DType dtype, Body&& body) {
  using enum DType;
  select<f32, bf16, f16, f64, i64, i32, u16, u8, boolean>("dtype", dtype, std::forward<Body>(body));
}

}  // namespace tessera
