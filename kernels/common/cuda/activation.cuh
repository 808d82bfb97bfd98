// The activations and their slopes in device code; equations in kernels/elementwise/gelu.h and silu.h.
#pragma once

#include <math.h>

#include "kernels/common/cuda/words.cuh"
#include "kernels/common/normal_tail.h"

namespace tessera {

template <class T>
__device__ T device_sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}
/// In four instructions: `exp` and a division would take thirty, more than a memory-bound kernel has time for.
template <>
__device__ inline float device_sigmoid(float x) {
  return reciprocal_approx(1 + exp2_approx(-1.44269504f * x));
}

/// Gelu in its tanh form: (1 + tanh u)/2 = σ(2u).
struct GeluTanh {
  template <class T>
  __device__ static T gate(T x) {
    return device_sigmoid(T(1.5957691216057307117) * x * (1 + T(0.044715) * x * x));
  }
  template <class T>
  __device__ static T value(T x) {
    return x * gate(x);
  }
  template <class T>
  __device__ static T slope(T x) {
    const T g = gate(x);
    return g + g * (1 - g) * x * (T(1.5957691216057307117) * (1 + T(0.134145) * x * x));
  }
};

/// Φ(x) and e^(−x²/2).
template <class T>
struct DeviceNormal {
  T distribution, bell;
};
template <class T>
__device__ DeviceNormal<T> device_normal(T x) {
  return {T(0.5) * erfc(-x * T(0.70710678118654752440)), exp(T(-0.5) * x * x)};
}
/// In half the instructions of `erfc`, of which a memory-bound kernel has no time for both branches.
template <>
__device__ inline DeviceNormal<float> device_normal(float x) {
  const float bell = exp2_approx(-0.72134752f * x * x);  // log₂(e) / 2
  const float tail = normal_tail(bell, reciprocal_approx(1 + kNormalTailScale * fabsf(x)));
  return {x < 0 ? tail : 1 - tail, bell};
}

struct GeluExact {
  template <class T>
  __device__ static T value(T x) {
    return x * device_normal(x).distribution;
  }
  template <class T>
  __device__ static T slope(T x) {
    const DeviceNormal<T> normal = device_normal(x);
    return normal.distribution + x * (T(0.39894228040143267794) * normal.bell);
  }
};

struct SiluFunction {
  template <class T>
  __device__ static T value(T x) {
    return x * device_sigmoid(x);
  }
  template <class T>
  __device__ static T slope(T x) {
    const T g = device_sigmoid(x);
    return g * (1 + x * (1 - g));
  }
};

}  // namespace tessera
