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

/// `value` as a tensor of `dtype` would hold it.
template <class T>
__device__ T round_to(DType dtype, T value) {
  if (dtype == DType::bf16) return static_cast<float>(BFloat16(static_cast<float>(value)));
  if (dtype == DType::f16) return static_cast<float>(Half(static_cast<float>(value)));
  return dtype == DType::f32 ? static_cast<T>(static_cast<float>(value)) : value;
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

/// Sixteen bytes, moved at once.
template <class Element>
struct alignas(16) Chunk {
  static constexpr int kElements = 16 / sizeof(Element);
  std::conditional_t<sizeof(Element) == 2, uint32_t, Element> parts[sizeof(Element) == 2 ? 4 : kElements];

  template <class T>
  __device__ void get(T* to) const {
#pragma unroll
    for (int e = 0; e < kElements; ++e) {
      if constexpr (sizeof(Element) == 2) {
        if (e % 2 != 0) continue;
        float low, high;
        unpack<Element>(parts[e / 2], low, high);
        to[e] = static_cast<T>(low), to[e + 1] = static_cast<T>(high);
      } else {
        to[e] = static_cast<T>(parts[e]);
      }
    }
  }
  /// Sixteen-bit elements as they are, two in a float.
  __device__ void get_pairs(float* to) const {
#pragma unroll
    for (int p = 0; p < 4; ++p) to[p] = bits_as<float>(parts[p]);
  }
  template <class T>
  __device__ void set(const T* from) {
#pragma unroll
    for (int e = 0; e < kElements; ++e) {
      if constexpr (sizeof(Element) == 2) {
        if (e % 2 == 0) parts[e / 2] = pack<Element>(static_cast<float>(from[e]), static_cast<float>(from[e + 1]));
      } else {
        parts[e] = static_cast<Element>(from[e]);
      }
    }
  }
};

/// Loads a run; 16-bit elements stay as they lie in memory where T has room for two.
template <class T>
struct FetchRun {
  int64_t stride;
  int count;
  T* to;
  template <class From>
  __device__ void operator()(const From* from) const {
    constexpr bool kPairs = sizeof(From) == 2 && sizeof(T) == 4;
    constexpr int kPerChunk = Chunk<From>::kElements;
    if (stride == 1 && count == kVector && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
#pragma unroll
      for (int c = 0; c < kVector / kPerChunk; ++c) {
        const Chunk<From> chunk(reinterpret_cast<const Chunk<From>*>(from)[c]);
        if constexpr (kPairs) chunk.get_pairs(to);
        else chunk.get(to + c * kPerChunk);
      }
    } else if constexpr (kPairs) {
#pragma unroll
      for (int i = 0; i < kVector; i += 2) {
        const uint32_t low = i < count ? from[i * stride].bits : 0,
                       high = i + 1 < count ? from[(i + 1) * stride].bits : 0;
        to[i / 2] = bits_as<float>(low | high << 16);
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
    constexpr int kPerChunk = Chunk<To>::kElements;
    if (stride == 1 && count == kVector && reinterpret_cast<uintptr_t>(to) % 16 == 0) {
#pragma unroll
      for (int c = 0; c < kVector / kPerChunk; ++c) {
        Chunk<To> chunk;
        chunk.set(from + c * kPerChunk);
        reinterpret_cast<Chunk<To>*>(to)[c] = chunk;
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

template <class Element>
__device__ void widen_pairs(float (&run)[kVector]) {
#pragma unroll
  for (int p = kVector / 2 - 1; p >= 0; --p) unpack<Element>(bits_as<uint32_t>(run[p]), run[2 * p], run[2 * p + 1]);
}

/// The first half of `load_run`, which does not wait for what it loads: `widen_run` does. A kernel that asks for all
/// its runs before it widens the first has them all on their way at once.
template <class T, int Rank>
__device__ void fetch_run(const Elements<Rank>& x, int64_t offset, int count, T (&to)[kVector], int64_t stride = 1) {
  with_float_type(x.data, x.dtype, offset, FetchRun<T>{stride, count, to});
}
/// Makes numbers of a fetched run of `dtype`.
template <class T>
__device__ void widen_run(DType dtype, T (&run)[kVector]) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (dtype == DType::bf16) widen_pairs<BFloat16>(run);
    if (dtype == DType::f16) widen_pairs<Half>(run);
  }
}

/// to[i] = the element `offset + i·stride` for i < count ≤ kVector, 0 behind them. Floating dtypes.
template <class T, int Rank>
__device__ void load_run(const Elements<Rank>& x, int64_t offset, int count, T (&to)[kVector], int64_t stride = 1) {
  fetch_run(x, offset, count, to, stride);
  widen_run(x.dtype, to);
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

/// a / b and a % b of numbers that are not negative: by 32 bits where they fit, which is several times as fast.
struct Division {
  int64_t quotient, rest;
};
__device__ inline Division divide(int64_t a, int64_t b) {
  if ((static_cast<uint64_t>(a) | static_cast<uint64_t>(b)) >> 32 != 0) return {a / b, a % b};
  const auto quotient = static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
  return {quotient, static_cast<uint32_t>(a) - quotient * static_cast<uint32_t>(b)};
}

/// The index of this thread in the whole grid (one axis).
__device__ inline int64_t grid_thread() {
  return static_cast<int64_t>(block_index().x) * thread_count() + thread_index();
}

}  // namespace tessera
