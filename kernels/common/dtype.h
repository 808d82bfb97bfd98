// The element types, as run-time values and as C++ types.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "kernels/common/half.h"

namespace tessera {

enum class DType : uint8_t { f64, f32, f16, bf16, i64, i32, u16, u8, boolean };

/// Bytes per element.
constexpr int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::f16:
    case DType::bf16:
    case DType::u16: return 2;
    case DType::u8:
    case DType::boolean: return 1;
  }
  return 0;
}

/// The name users write and read: "float32", "bfloat16", "int64", "bool"…
constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f64: return "float64";
    case DType::f32: return "float32";
    case DType::f16: return "float16";
    case DType::bf16: return "bfloat16";
    case DType::i64: return "int64";
    case DType::i32: return "int32";
    case DType::u16: return "uint16";
    case DType::u8: return "uint8";
    case DType::boolean: return "bool";
  }
  return "?";
}

/// For messages.
inline std::string to_string(DType dtype) { return std::string(name_of(dtype)); }

constexpr bool is_floating(DType dtype) { return dtype <= DType::bf16; }
constexpr bool is_16bit_float(DType dtype) { return dtype == DType::f16 || dtype == DType::bf16; }

/// The dtype that sums, statistics, softmax and losses of `dtype` are computed in: f64 for f64, else f32.
constexpr DType accumulate_dtype(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

namespace detail {
template <DType T>
constexpr auto cpp_type() {
  if constexpr (T == DType::f64) return double{};
  else if constexpr (T == DType::f32) return float{};
  else if constexpr (T == DType::f16) return Half{};
  else if constexpr (T == DType::bf16) return BFloat16{};
  else if constexpr (T == DType::i64) return int64_t{};
  else if constexpr (T == DType::i32) return int32_t{};
  else if constexpr (T == DType::u16) return uint16_t{};
  else if constexpr (T == DType::u8) return uint8_t{};
  else return bool{};
}
}  // namespace detail

/// The C++ type of a dtype: `CppType<DType::bf16>` is `BFloat16`.
template <DType T>
using CppType = decltype(detail::cpp_type<T>());

/// The C++ type in which `T` accumulates.
template <DType T>
using AccumulateType = CppType<accumulate_dtype(T)>;

/// The dtype of a C++ type.
template <class T>
constexpr DType dtype_of() {
  if constexpr (std::same_as<T, double>) return DType::f64;
  else if constexpr (std::same_as<T, float>) return DType::f32;
  else if constexpr (std::same_as<T, Half>) return DType::f16;
  else if constexpr (std::same_as<T, BFloat16>) return DType::bf16;
  else if constexpr (std::same_as<T, int64_t>) return DType::i64;
  else if constexpr (std::same_as<T, int32_t>) return DType::i32;
  else if constexpr (std::same_as<T, uint16_t>) return DType::u16;
  else if constexpr (std::same_as<T, uint8_t>) return DType::u8;
  else {
    static_assert(std::same_as<T, bool>, "not an element type");
    return DType::boolean;
  }
}

}  // namespace tessera
