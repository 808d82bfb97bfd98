// The online softmax (Milakov and Gimelshein, 2018) over tiles whose lanes are queries: each lane keeps the largest
// score it has seen and the sum of 2^(score − largest), and learns by how much a new largest score scales down what it
// has.
#pragma once

#include <limits>

#include "kernels/common/simd.h"
#include "kernels/flash_attention/cpu/tile.h"

namespace tessera::attention {

/// The running statistics of the queries of a tile.
template <class A>
struct SoftmaxState {
  Tile<A> values;  // rows: largest score, sum, correction

  A* largest() const { return values.row(0); }
  A* sum() const { return values.row(1); }
  A* correction() const { return values.row(2); }

  void reset() const {
    std::fill_n(largest(), values.columns, -std::numeric_limits<A>::infinity());
    std::fill_n(sum(), values.columns, A{0});
  }
};

namespace detail {
/// Replaces the scores of R registers of lanes from c on by weights; true if a largest score changed.
template <int R, class A>
[[gnu::always_inline]] inline bool soften_lanes(Tile<A> scores, SoftmaxState<A> state, int64_t c) {
  using V = simd::Vector<A>;
  constexpr int n = simd::kLanes<A>;
  V before[R], largest[R], base[R], sum[R] = {};
  for (int i = 0; i < R; ++i) before[i] = largest[i] = simd::load(state.largest() + c + i * n);
  for (int64_t r = 0; r < scores.rows; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) largest[i] = simd::max(simd::load(scores.row(r) + c + i * n), largest[i]);
  }
  const V none = simd::broadcast(-std::numeric_limits<A>::infinity());
  for (int i = 0; i < R; ++i) base[i] = largest[i] == none ? V{} : largest[i];  // −∞ − (−∞) would be NaN
  for (int64_t r = 0; r < scores.rows; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const V weight = simd::exp2(simd::load(scores.row(r) + c + i * n) - base[i]);
      sum[i] += weight;
      simd::store(scores.row(r) + c + i * n, weight);
    }
  }
  bool changed = false;
  for (int i = 0; i < R; ++i) {
    const V correction = simd::exp2(before[i] - base[i]);
    simd::store(state.correction() + c + i * n, correction);
    simd::store(state.largest() + c + i * n, largest[i]);
    simd::store(state.sum() + c + i * n, simd::load(state.sum() + c + i * n) * correction + sum[i]);
    for (int lane = 0; lane < n; ++lane) changed |= correction[lane] != 1;
  }
  return changed;
}
}  // namespace detail

/// Replaces scores [keys, queries] (units of log 2) by weights 2^(score − largest) and updates the state. True if what
/// was accumulated before must be multiplied by `state.correction()`.
template <class A>
bool soften(Tile<A> scores, SoftmaxState<A> state) {
  constexpr int kRegisters = 4;
  constexpr int64_t wide = kRegisters * simd::kLanes<A>;
  bool changed = false;
  int64_t c = 0;
  for (; c + wide <= scores.columns; c += wide) changed |= detail::soften_lanes<kRegisters>(scores, state, c);
  for (; c < scores.columns; c += simd::kLanes<A>) changed |= detail::soften_lanes<1>(scores, state, c);
  return changed;
}

}  // namespace tessera::attention
