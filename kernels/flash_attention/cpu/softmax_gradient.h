// The softmax and its gradient, from saved statistics, on tiles whose lanes are keys.
#pragma once

#include <limits>

#include "kernels/common/simd.h"
#include "kernels/flash_attention/cpu/tile.h"

namespace tessera::attention {

namespace detail {
template <bool Capped, class A>
void softmax_gradient(Tile<A> scores, Tile<A> dscores, Tile<const A> cap_slope, const A* lse, const A* delta) {
  using V = simd::Vector<A>;
  constexpr A hidden = -std::numeric_limits<A>::infinity();
  for (int64_t r = 0; r < scores.rows; ++r) {
    const A base = lse[r] == hidden ? A{0} : lse[r];
    for (int64_t c = 0; c < scores.columns; c += simd::kLanes<A>) {
      const V score = simd::load(scores.row(r) + c);
      const V weight = score == hidden ? V{} : simd::exp2(score - base);
      V gradient = weight * (simd::load(dscores.row(r) + c) - delta[r]);
      if constexpr (Capped) gradient *= simd::load(cap_slope.row(r) + c);
      simd::store(scores.row(r) + c, weight);
      simd::store(dscores.row(r) + c, weight == A{0} ? V{} : gradient);
    }
  }
}
}  // namespace detail

/// Replaces scores [queries, keys] (units of log 2) by weights P = 2^(score − lse) and `dscores`, which holds dP, by
/// dS = P · (dP − delta) · cap_slope (1 where absent). Where a weight is 0 so is dS, whatever dP holds.
template <class A>
void softmax_gradient(Tile<A> scores, Tile<A> dscores, Tile<const A> cap_slope, const A* lse, const A* delta) {
  if (cap_slope.data) detail::softmax_gradient<true>(scores, dscores, cap_slope, lse, delta);
  else detail::softmax_gradient<false>(scores, dscores, cap_slope, lse, delta);
}

}  // namespace tessera::attention
