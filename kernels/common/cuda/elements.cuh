// Tensors as device code sees them, and runs of their elements as float or double whatever dtype they are stored in: a
// switch per run of eight, one 16-byte access where addresses allow it. So kernels are compiled for two types only.
#pragma once

#include <math.h>

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/rows.h"

namespace tessera {

/// A view without std::array, whose members device code may not call.
template <int Rank>
struct Elements {
  char* data;
  DType dtype;
  int64_t shape[Rank > 0 ? Rank : 1];
  int64_t strides[Rank > 0 ? Rank : 1];

  template <class Address>
  Elements(const View<Address, Rank>& view)
      : data(static_cast<char*>(const_cast<void*>(static_cast<const void*>(view.data)))), dtype(view.dtype) {
    for (int i = 0; i < Rank; ++i) {
      shape[i] = view.shape[i];
      strides[i] = view.strides[i];
    }
  }
  __host__ __device__ explicit operator bool() const { return data != nullptr; }
  template <class T>
  __device__ T* as() const {
    return reinterpret_cast<T*>(data);
  }
};

/// Elements that one thread moves at a time.
inline constexpr int kVector = 8;

template <class T, class From>
__device__ T widen_element(From value) {
  if constexpr (sizeof(From) == 2) return static_cast<T>(static_cast<float>(value));
  else return static_cast<T>(value);
}
template <class To, class T>
__device__ To narrow_element(T value) {
  if constexpr (sizeof(To) == 2) return To(static_cast<float>(value));
  else return static_cast<To>(value);
}

/// size_of, for device code.
__device__ inline int64_t bytes_per_element(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::u8:
    case DType::boolean: return 1;
    default: return 2;
  }
}

/// Calls `body(address as that of the dtype's C++ type)` for a floating dtype.
template <class Body>
__device__ void with_float_type(const char* data, DType dtype, int64_t offset, Body&& body) {
  char* at = const_cast<char*>(data) + offset * bytes_per_element(dtype);
  switch (dtype) {
    case DType::f64: return body(reinterpret_cast<double*>(at));
    case DType::f32: return body(reinterpret_cast<float*>(at));
    case DType::f16: return body(reinterpret_cast<Half*>(at));
    default: return body(reinterpret_cast<BFloat16*>(at));
  }
}

template <class T, class From>
struct alignas(16) Chunk {
  From elements[16 / sizeof(From)];
};

template <class T>
struct LoadRun {
  int64_t stride;
  int count;
  T* to;
  template <class From>
  __device__ void operator()(const From* from) const {
    constexpr int kPerChunk = 16 / sizeof(From);
    if (stride == 1 && count == kVector && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
#pragma unroll
      for (int c = 0; c < kVector / kPerChunk; ++c) {
        const auto chunk = reinterpret_cast<const Chunk<T, From>*>(from)[c];
#pragma unroll
        for (int e = 0; e < kPerChunk; ++e) to[c * kPerChunk + e] = widen_element<T>(chunk.elements[e]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kVector; ++i) to[i] = i < count ? widen_element<T>(from[i * stride]) : T(0);
    }
  }
};

template <class T>
struct StoreRun {
  int64_t stride;
  int count;
  const T* from;
  template <class To>
  __device__ void operator()(To* to) const {
    constexpr int kPerChunk = 16 / sizeof(To);
    if (stride == 1 && count == kVector && reinterpret_cast<uintptr_t>(to) % 16 == 0) {
#pragma unroll
      for (int c = 0; c < kVector / kPerChunk; ++c) {
        Chunk<T, To> chunk;
#pragma unroll
        for (int e = 0; e < kPerChunk; ++e) chunk.elements[e] = narrow_element<To>(from[c * kPerChunk + e]);
        reinterpret_cast<Chunk<T, To>*>(to)[c] = chunk;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        if (i < count) to[i * stride] = narrow_element<To>(from[i]);
      }
    }
  }
};

template <class T>
struct LoadOne {
  T& to;
  template <class From>
  __device__ void operator()(const From* from) const {
    to = widen_element<T>(*from);
  }
};

template <class T>
struct StoreOne {
  T from;
  template <class To>
  __device__ void operator()(To* to) const {
    *to = narrow_element<To>(from);
  }
};

/// to[i] = the element `offset + i·stride` for i < count ≤ kVector, 0 behind them. Floating dtypes.
template <class T, int Rank>
__device__ void load_run(const Elements<Rank>& x, int64_t offset, int count, T (&to)[kVector], int64_t stride = 1) {
  with_float_type(x.data, x.dtype, offset, LoadRun<T>{stride, count, to});
}
template <class T, int Rank>
__device__ void store_run(const Elements<Rank>& y, int64_t offset, int count, const T (&from)[kVector],
                          int64_t stride = 1) {
  with_float_type(y.data, y.dtype, offset, StoreRun<T>{stride, count, from});
}
/// One element.
template <class T, int Rank>
__device__ T load_one(const Elements<Rank>& x, int64_t offset) {
  T value;
  with_float_type(x.data, x.dtype, offset, LoadOne<T>{value});
  return value;
}
template <class T, int Rank>
__device__ void store_one(const Elements<Rank>& y, int64_t offset, T value) {
  with_float_type(y.data, y.dtype, offset, StoreOne<T>{value});
}

/// min(n, kVector) of a 64-bit count.
__device__ inline int run_length(int64_t left) { return left < kVector ? static_cast<int>(left) : kVector; }

/// The index of this thread in the whole grid (one axis).
__device__ inline int64_t grid_thread() {
  return static_cast<int64_t>(block_index().x) * thread_count() + thread_index();
}

}  // namespace tessera
