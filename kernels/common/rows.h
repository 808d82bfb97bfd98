// Runs of elements as f32 or f64, whatever dtype they are stored in. Memory that already holds the wanted type is used
// where it lies; other runs pass through a small buffer. So CPU kernels are compiled for two types only.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/common/view.h"

namespace tessera {

/// Elements per buffer: what kernels without a row structure convert at a time; stays in the first-level cache.
inline constexpr int64_t kRun = 1024;

/// Converts `n` floating elements that lie `stride` apart into `to`.
template <class T>
void convert_in(const void* from, DType dtype, int64_t stride, int64_t n, T* to);

/// Converts `n` neighbours into floating elements that lie `stride` apart; f64 to 16 bit rounds through f32.
template <class T>
void convert_out(const T* from, int64_t n, void* to, DType dtype, int64_t stride);

/// The address of element `offset`.
inline const void* address_of(const void* data, DType dtype, int64_t offset) {
  return static_cast<const char*>(data) + offset * size_of(dtype);
}
inline void* address_of(void* data, DType dtype, int64_t offset) {
  return static_cast<char*>(data) + offset * size_of(dtype);
}

/// The `n` elements from `offset` on, `stride` apart: converted into `buffer` unless they already are neighbours of
/// type T.
template <class T, int Rank>
const T* load_run(const In<Rank>& x, int64_t offset, int64_t n, T* buffer, int64_t stride = 1) {
  const void* data = address_of(x.data, x.dtype, offset);
  if (x.dtype == dtype_of<T>() && stride == 1) return static_cast<const T*>(data);
  convert_in(data, x.dtype, stride, n, buffer);
  return buffer;
}

/// Where to produce the elements from `offset` on: their own memory if it will do, else `buffer`; `store_run` follows.
template <class T, int Rank>
T* target_run(const Out<Rank>& y, int64_t offset, T* buffer, int64_t stride = 1) {
  return y.dtype == dtype_of<T>() && stride == 1 ? y.template as<T>() + offset : buffer;
}

/// Converts what was produced in `buffer`; nothing is left to do where `target_run` was the memory itself.
template <class T, int Rank>
void store_run(const T* values, const Out<Rank>& y, int64_t offset, int64_t n, int64_t stride = 1) {
  if (y.dtype == dtype_of<T>() && stride == 1) return;
  convert_out(values, n, address_of(y.data, y.dtype, offset), y.dtype, stride);
}

/// An output read back.
template <int Rank>
In<Rank> read_only(const Out<Rank>& y) {
  return {y.data, y.dtype, y.shape, y.strides};
}

/// Calls `body.operator()<T>()` with T the type in which a kernel computes: double where any dtype is f64, else float.
template <class Body, class... DTypes>
void select_compute(Body&& body, DTypes... dtypes) {
  const bool wide = ((dtypes == DType::f64) || ...);
  if (wide) body.template operator()<double>();
  else body.template operator()<float>();
}

/// Uninitialised memory for one piece of work.
template <class T>
std::unique_ptr<T[]> scratch(int64_t n) {
  return std::make_unique_for_overwrite<T[]>(static_cast<size_t>(n));
}

}  // namespace tessera
