// The part of the softmax gradient that is one number per row.
#pragma once

#include "kernels/common/parallel.h"
#include "kernels/flash_attention/cpu/tile_io.h"
#include "kernels/flash_attention/flash_attention.h"

namespace tessera::attention {

/// Σ a(i) · b(i) over n elements, each converted to A.
template <class A, class T>
A dot(const T* a, const T* b, int64_t n) {
  simd::Vector<A> sum{};
  for (int64_t i = 0; i < n; i += simd::kLanes<A>) sum += load_lanes<A>(a + i, n - i) * load_lanes<A>(b + i, n - i);
  A total = 0;
  for (int i = 0; i < simd::kLanes<A>; ++i) total += sum[i];
  return total;
}

/// delta [B · H, N]: delta(i) = scale · Σ_d dout(i, d) · out(i, d)
template <DType T>
void sum_delta(const FlashAttentionBackward& arguments, Tile<AccumulateType<T>> delta) {
  using A = AccumulateType<T>;
  const auto [samples, queries, heads, width] = arguments.out.shape;
  const A scale = static_cast<A>(arguments.options.scale);
  parallel_for(samples * queries, row_grain(heads * width), [&, heads = heads, queries = queries](int64_t row) {
    const int64_t b = row / queries, i = row % queries;
    for (int64_t h = 0; h < heads; ++h) {
      const auto out = head_rows<CppType<T>>(arguments.out, b, h, i);
      const auto dout = head_rows<CppType<T>>(arguments.dout, b, h, i);
      delta.row(b * heads + h)[i] = scale * dot<A>(out.data, dout.data, out.width);
    }
  });
}

}  // namespace tessera::attention
