// The activations and their slopes, for the CPU's inner loops; equations in kernels/elementwise/gelu.h and silu.h. T is
// float or double.
#pragma once

#include "kernels/common/vector_math.h"

namespace tessera {

namespace detail {
/// (1 + tanh u) / 2 = σ(2u), which keeps its digits where tanh u is near −1.
template <class T>
[[gnu::always_inline]] inline T gelu_tanh_gate(T x) {
  constexpr T kTwiceRootTwoOverPi = T(1.5957691216057307117);
  return fast_sigmoid(kTwiceRootTwoOverPi * x * (1 + T(0.044715) * x * x));
}
}  // namespace detail

template <class T>
[[gnu::always_inline]] inline T gelu_tanh(T x) {
  return x * detail::gelu_tanh_gate(x);
}

template <class T>
[[gnu::always_inline]] inline T gelu_tanh_slope(T x) {
  constexpr T kTwiceRootTwoOverPi = T(1.5957691216057307117);
  const T gate = detail::gelu_tanh_gate(x);
  return gate + gate * (1 - gate) * x * (kTwiceRootTwoOverPi * (1 + T(0.134145) * x * x));
}

template <class T>
[[gnu::always_inline]] inline T gelu_exact(T x) {
  return x * fast_normal(x).distribution;
}

template <class T>
[[gnu::always_inline]] inline T gelu_exact_slope(T x) {
  const Normal<T> normal = fast_normal(x);
  return normal.distribution + x * normal.density;
}

template <class T>
[[gnu::always_inline]] inline T silu(T x) {
  return x * fast_sigmoid(x);
}

template <class T>
[[gnu::always_inline]] inline T silu_slope(T x) {
  const T gate = fast_sigmoid(x);
  return gate * (1 + x * (1 - gate));
}

}  // namespace tessera
