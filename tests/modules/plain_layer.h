// FlashAttentionTwo by its definition, in double: plain loops over the weights and over the whole matrix of scores.
#pragma once

#include "modules/flash_attention_two.h"
#include "tests/framework/ops/op_check.h"
#include "tests/framework/ops/plain_attention.h"

namespace tessera {

/// x·Wᵀ + b as heads [B, N, count, D]: rows [first, first + count·D) of the weight.
inline Tensor heads_of(const Tensor& x, const Linear& projection, int64_t first, int64_t count, int64_t size) {
  const std::vector<double> rows = doubles(x), weight = doubles(projection.weight.value());
  const std::vector<double> bias = projection.bias ? doubles(projection.bias.value()) : std::vector<double>();
  const int64_t in = x.dim(2);
  std::vector<double> y;
  for (int64_t r = 0; r < x.dim(0) * x.dim(1); ++r) {
    for (int64_t n = first; n < first + count * size; ++n) {
      double sum = bias.empty() ? 0 : bias[n];
      for (int64_t c = 0; c < in; ++c) sum += rows[r * in + c] * weight[n * in + c];
      y.push_back(sum);
    }
  }
  return Tensor::from(y, {x.dim(0), x.dim(1), count, size});
}

/// x [B, N, H, D] turned by position.
inline Tensor turned_by_position(const Tensor& x) {
  Tensor y = x.contiguous_copy();
  const int64_t half = x.dim(3) / 2;
  for (int64_t row = 0; row < x.dim(0) * x.dim(1) * x.dim(2); ++row) {
    const auto position = static_cast<double>(row / x.dim(2) % x.dim(1));
    for (int64_t d = 0; d < half; ++d) {
      const double angle = position * std::pow(10000.0, -static_cast<double>(d) / static_cast<double>(half));
      double &first = y.data<double>()[row * 2 * half + d], &second = y.data<double>()[row * 2 * half + half + d];
      const double a = first, b = second;
      first = a * std::cos(angle) - b * std::sin(angle);
      second = b * std::cos(angle) + a * std::sin(angle);
    }
  }
  return y;
}

/// The layer by its definition, in double, without what follows its last projection.
inline std::vector<double> plain_layer(const FlashAttentionTwo& layer, const Tensor& x, const Tensor& context,
                                       const PlainAttention& attention) {
  const FlashAttentionTwo::Options& o = layer.options;
  Tensor q = heads_of(x, layer.to_q, 0, o.heads, o.dim_head);
  Tensor k = heads_of(context, layer.to_kv, 0, o.kv_heads, o.dim_head);
  const Tensor v = heads_of(context, layer.to_kv, o.kv_heads * o.dim_head, o.kv_heads, o.dim_head);
  if (o.rotary && context.address() == x.address()) q = turned_by_position(q), k = turned_by_position(k);
  const Tensor out = Tensor::from(attention(q, k, v), {x.dim(0), x.dim(1), o.heads * o.dim_head});
  return doubles(heads_of(out, layer.to_out, 0, 1, o.dim));
}

}  // namespace tessera
