// The online softmax (Milakov and Gimelshein, 2018) over tiles whose lanes are queries: each lane keeps a base, near
// the largest score it has seen, and the sum of 2^(score − base), and learns by how much a new base scales down what it
// has. The base stays while no score exceeds it by much: what was accumulated then need not be touched.
#pragma once

#include <limits>

#include "kernels/common/simd.h"
#include "kernels/flash_attention/cpu/tile.h"

namespace tessera::attention {

/// The running statistics of the queries of a tile.
template <class A>
struct SoftmaxState {
  Tile<A> values;  // rows: base, sum, correction

  A* base() const { return values.row(0); }
  A* sum() const { return values.row(1); }
  A* correction() const { return values.row(2); }

  void reset() const {
    std::fill_n(base(), values.columns, -std::numeric_limits<A>::infinity());
    std::fill_n(sum(), values.columns, A{0});
  }
};

namespace detail {
/// Replaces the scores of R registers of lanes from c on by weights; true if a base changed.
template <int R, class A>
[[gnu::always_inline]] inline bool soften_lanes(Tile<A> scores, SoftmaxState<A> state, int64_t c) {
  using V = simd::Vector<A>;
  constexpr int n = simd::kLanes<A>;
  constexpr A slack = 8;  // weights reach 2^8 at most, far from what would cost a digit
  V before[R], base[R], largest[R], sum[R] = {};
  for (int i = 0; i < R; ++i) before[i] = largest[i] = simd::load(state.base() + c + i * n);
  for (int64_t r = 0; r < scores.rows; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) largest[i] = simd::max(simd::load(scores.row(r) + c + i * n), largest[i]);
  }
  const V none = simd::broadcast(-std::numeric_limits<A>::infinity());
  for (int i = 0; i < R; ++i) {
    const V next = largest[i] - before[i] > slack ? largest[i] : before[i];
    simd::store(state.base() + c + i * n, next);
    base[i] = next == none ? V{} : next;  // −∞ − (−∞) would be NaN
  }
  for (int64_t r = 0; r < scores.rows; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const V weight = simd::exp2(simd::load(scores.row(r) + c + i * n) - base[i]);
      sum[i] += weight;
      simd::store(scores.row(r) + c + i * n, weight);
    }
  }
  V decrease{};  // of what was accumulated: corrections are at most 1
  for (int i = 0; i < R; ++i) {
    const V correction = simd::exp2(before[i] - base[i]);
    simd::store(state.correction() + c + i * n, correction);
    simd::store(state.sum() + c + i * n, simd::load(state.sum() + c + i * n) * correction + sum[i]);
    decrease += 1 - correction;
  }
  A total = 0;
  for (int lane = 0; lane < n; ++lane) total += decrease[lane];
  return total != 0;
}
}  // namespace detail

/// Replaces scores [keys, queries] (units of log 2) by weights 2^(score − base) and updates the state. True if what
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
