// From run-time sizes to compiled kernels.
#pragma once

#include "kernels/common/select.h"
#include "kernels/flash_attention/cuda/rules.cuh"
#include "kernels/flash_attention/flash_attention.h"

namespace tessera {

/// Calls `body.operator()<Head>()` with the smallest of `Sizes` that holds a head of `size` elements.
template <int First, int... Rest, class Body>
void with_head(int64_t size, Body&& body) {
  if constexpr (sizeof...(Rest) == 0) {
    expect(size <= First, "flash_attention: head size {} is not supported; use 1 to {}", size, First);
    body.template operator()<First>();
  } else {
    if (size <= First) body.template operator()<First>();
    else with_head<Rest...>(size, body);
  }
}

/// The largest multiple of 16 within both bounds, at least 16.
inline int64_t tile_within(int64_t bucket, int64_t compiled) {
  return std::max<int64_t>(16, std::min(bucket, compiled) / 16 * 16);
}

inline AttentionArguments arguments_of(const FlashAttentionForward& op) {
  return {op.q,     op.k,     op.v,     op.out, In<4>{},
          Out<4>{}, Out<4>{}, Out<4>{}, op.lse, AttentionRules(op.options, op.q.shape[1], op.k.shape[1])};
}
inline AttentionArguments arguments_of(const FlashAttentionBackward& op) {
  return {op.q,  op.k,  op.v,  op.out, op.dout,
          op.dq, op.dk, op.dv, op.lse, AttentionRules(op.options, op.q.shape[1], op.k.shape[1])};
}

}  // namespace tessera
