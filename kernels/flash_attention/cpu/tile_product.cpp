// The tile products. Row-major out = left · right is, column by column, outᵀ = rightᵀ · leftᵀ, which is how libxsmm, a
// column-major library, is asked for it: the lanes then run along the rows of `right` and `out`.
#include "kernels/flash_attention/cpu/tile_product.h"

#ifdef TESSERA_WITH_XSMM
#include <libxsmm.h>
#endif

#include <utility>

#include "kernels/common/simd.h"

namespace tessera::attention {
namespace {

/// The steps between neighbouring elements of `left`, as r and k of left(r, k) advance.
struct LeftSteps {
  int64_t r;
  int64_t k;
};

/// Adds to (or writes) a block of R rows and C registers of `out`, all of it held in registers.
template <int R, int C, class A>
[[gnu::always_inline]] inline void multiply_block(A* out, int64_t out_stride, const A* left, LeftSteps step,
                                                  Tile<const A> right, bool accumulate) {
  constexpr int n = simd::kLanes<A>;
  simd::Vector<A> sums[R][C] = {};
  for (int64_t k = 0; k < right.rows; ++k) {
    simd::Vector<A> columns[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) columns[c] = simd::load(right.row(k) + c * n);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const A weight = left[r * step.r + k * step.k];
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sums[r][c] += columns[c] * weight;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      A* to = out + r * out_stride + c * n;
      simd::store(to, accumulate ? simd::load(to) + sums[r][c] : sums[r][c]);
    }
  }
}

constexpr int kBlockRows = 6;
constexpr int kBlockVectors = simd::kBytes == 64 ? 4 : 2;  // 24 sums of 32 registers, or 12 of 16

/// All rows of one column block, kBlockRows at a time and then what is left.
template <int C, class A>
void multiply_columns(Tile<A> out, Tile<const A> left, LeftSteps step, Tile<const A> right, bool accumulate) {
  const auto rows = [&]<int R>(std::integral_constant<int, R>, int64_t r) {
    multiply_block<R, C>(out.row(r), out.stride, left.data + r * step.r, step, right, accumulate);
  };
  int64_t r = 0;
  for (; r + kBlockRows <= out.rows; r += kBlockRows) rows(std::integral_constant<int, kBlockRows>(), r);
  for (; r + 2 <= out.rows; r += 2) rows(std::integral_constant<int, 2>(), r);
  for (; r < out.rows; ++r) rows(std::integral_constant<int, 1>(), r);
}

template <class A>
void multiply_portable(Tile<A> out, Tile<const A> left, LeftSteps step, Tile<const A> right, bool accumulate) {
  constexpr int64_t wide = kBlockVectors * simd::kLanes<A>;
  int64_t c = 0;
  for (; c + wide <= out.columns; c += wide) {
    multiply_columns<kBlockVectors>(out.column_range({c, c + wide}), left, step, right.column_range({c, c + wide}),
                                    accumulate);
  }
  for (; c < out.columns; c += simd::kLanes<A>) {
    const Range one{c, c + simd::kLanes<A>};
    multiply_columns<1>(out.column_range(one), left, step, right.column_range(one), accumulate);
  }
}

#ifdef TESSERA_WITH_XSMM
/// The generated kernel for these sizes, found in libxsmm's table or generated now; null where it cannot.
auto generated_kernel(Tile<float> out, Tile<const float> left, Tile<const float> right, bool left_transposed,
                      bool accumulate) {
  const auto narrow = [](int64_t n) { return static_cast<libxsmm_blasint>(n); };
  const libxsmm_blasint lda = narrow(right.stride), ldb = narrow(left.stride), ldc = narrow(out.stride);
  const float alpha = 1, beta = accumulate ? 1 : 0;
  const int flags = left_transposed ? LIBXSMM_GEMM_FLAG_TRANS_B : LIBXSMM_GEMM_FLAG_NONE;
  return libxsmm_smmdispatch(narrow(out.columns), narrow(out.rows), narrow(right.rows), &lda, &ldb, &ldc, &alpha, &beta,
                             &flags, nullptr);
}
#endif

/// out += left · right where zero times anything is zero.
template <class A>
void add_absorbing(Tile<A> out, Tile<const A> left, LeftSteps step, Tile<const A> right) {
  for (int64_t r = 0; r < out.rows; ++r) {
    for (int64_t k = 0; k < right.rows; ++k) {
      const A weight = left.data[r * step.r + k * step.k];
      if (weight == 0) continue;
      const A* from = right.row(k);
      A* to = out.row(r);
      for (int64_t c = 0; c < out.columns; ++c) to[c] += from[c] == 0 ? A{0} : weight * from[c];
    }
  }
}

}  // namespace

template <class A>
void TileProducts<A>::run(Tile<A> out, Tile<const A> left, Tile<const A> right, Form form) const {
  const LeftSteps step = form.left_transposed ? LeftSteps{1, left.stride} : LeftSteps{left.stride, 1};
  if (form.zero == Zero::absorbing) return add_absorbing(out, left, step, right);
#ifdef TESSERA_WITH_XSMM
  if constexpr (std::is_same_v<A, float>) {
    if (backend_ == TileBackend::best) {
      const auto kernel = generated_kernel(out, left, right, form.left_transposed, form.accumulate);
      if (kernel) return kernel(right.data, left.data, out.data);
    }
  }
#endif
  multiply_portable(out, left, step, right, form.accumulate);
}

template class TileProducts<float>;
template class TileProducts<double>;

}  // namespace tessera::attention
