// The kernels that a linear layer's gradients are made of where they are not one.
#pragma once

#include "kernels/elementwise/gelu.h"
#include "kernels/matmul/linear_gradients.h"
#include "kernels/matmul/matmul.h"
#include "kernels/reduce/sum.h"

namespace tessera::linear {

template <class View>
auto batch_of_one(const View& x) {
  using Batched = std::conditional_t<std::is_same_v<View, In<2>>, In<3>, Out<3>>;
  return Batched{x.data, x.dtype, {1, x.shape[0], x.shape[1]}, {0, x.strides[0], x.strides[1]}};
}

/// [1, N, R]
inline In<3> turned(const In<2>& x) {
  return {x.data, x.dtype, {1, x.shape[1], x.shape[0]}, {0, x.strides[1], x.strides[0]}};
}

inline MatMul weight_product(const LinearWeightGradient& op) {
  return {.a = turned(op.dy),
          .b = batch_of_one(op.x),
          .bias = {},
          .add = {},
          .activation = Activation::none,
          .pre_activation = {},
          .c = batch_of_one(op.dweight),
          .beta = op.dweight_beta};
}

inline MatMul input_product(const LinearActivationGradient& op) {
  return {.a = batch_of_one(op.dy),
          .b = batch_of_one(op.weight),
          .bias = {},
          .add = {},
          .activation = Activation::none,
          .pre_activation = {},
          .c = batch_of_one(op.dpre),
          .beta = 0};
}

/// dpre ∘= activation'(pre)
inline GeluBackward activation_slope(const LinearActivationGradient& op) {
  const int64_t n = op.pre.shape[0] * op.pre.shape[1];
  return {.x = {op.pre.data, op.pre.dtype, {n}, {1}},
          .dy = {op.dpre.data, op.dpre.dtype, {n}, {1}},
          .activation = op.activation,
          .dx = {op.dpre.data, op.dpre.dtype, {n}, {1}}};
}

/// x = activation(pre)
inline Gelu activated(const LinearActivationGradient& op) {
  const int64_t n = op.pre.shape[0] * op.pre.shape[1];
  return {
      .x = {op.pre.data, op.pre.dtype, {n}, {1}}, .activation = op.activation, .y = {op.x.data, op.x.dtype, {n}, {1}}};
}

/// y = beta·y + Σ_r x
inline Sum row_sum(const In<2>& x, const Out<1>& y, float beta) {
  return {.x = batch_of_one(x), .scale = 1, .beta = beta, .y = {y.data, y.dtype, {1, y.shape[0]}, {0, y.strides[0]}}};
}

}  // namespace tessera::linear
