// From run-time sizes to compiled kernels.
#pragma once

#include <array>

#include "kernels/common/cuda/scratch.h"
#include "kernels/common/select.h"
#include "kernels/flash_attention/cuda/rules.cuh"
#include "kernels/flash_attention/flash_attention.h"
#include "kernels/memory/memory.h"

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

/// The head sizes that the kernels of 16-bit dtypes are compiled for; smaller heads are padded with zeros.
template <class Body>
void with_compiled_head(int64_t size, Body&& body) {
  with_head<32, 64, 128, 256>(size, body);
}

/// A tensor as the kernels of 16-bit dtypes read it, rows at multiples of 16 bytes: itself, or a copy.
class AlignedRows {
 public:
  AlignedRows(const In<4>& x, Cuda cuda) : scratch_(cuda, static_cast<size_t>(copy_bytes(x))), view_(x) {
    if (copy_bytes(x) == 0) return;
    const int64_t row = row_elements(x);
    view_.data = scratch_.as<void>();
    view_.strides = {x.shape[1] * x.shape[2] * row, x.shape[2] * row, row, 1};
    const auto five = [&](const auto& extents, int64_t first) {
      return std::array{first, extents[0], extents[1], extents[2], extents[3]};
    };
    Copy{.x = {x.data, x.dtype, five(x.shape, 1), five(x.strides, 0)},
         .y = {scratch_.as<void>(), x.dtype, five(x.shape, 1), five(view_.strides, 0)}}(cuda);
  }
  const In<4>& view() const { return view_; }

  /// The scratch memory it takes.
  static int64_t copy_bytes(const In<4>& x) {
    const bool aligned = reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.strides[0] % 8 == 0 &&
                         x.strides[1] % 8 == 0 && x.strides[2] % 8 == 0;
    return aligned ? 0 : x.shape[0] * x.shape[1] * x.shape[2] * row_elements(x) * size_of(x.dtype);
  }

 private:
  static int64_t row_elements(const In<4>& x) { return pieces_of(x.shape[3], 8) * 8; }
  Scratch scratch_;
  In<4> view_;
};

/// The largest multiple of 16 within both bounds, at least 16.
inline int64_t tile_within(int64_t bucket, int64_t compiled) {
  return std::max<int64_t>(16, std::min(bucket, compiled) / 16 * 16);
}

/// The kernels of 16-bit dtypes count positions in 31 bits.
inline void expect_short_enough(int64_t queries, int64_t keys) {
  constexpr int64_t kMost = int64_t{1} << 30;
  expect(queries <= kMost && keys <= kMost,
         "flash_attention: {} queries and {} keys are more than {}; cut the sequence into segments", queries, keys,
         kMost);
}

/// Whether a call asks for more than position limits.
template <class Op>
bool has_extras(const Op& op) {
  return AttentionRules(op.options, op.q.shape[1], op.k.shape[1]).has_extras();
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
