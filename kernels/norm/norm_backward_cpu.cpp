#include <algorithm>
#include <vector>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/norm/norm_cpu.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/reduce/sum.h"

namespace tessera {
namespace {

// Rows whose parameter gradients one chunk sums: few enough chunks that their partial sums stay small beside the input.
int64_t rows_per_chunk(int64_t rows, int64_t width) { return std::max(row_grain(width), (rows + 63) / 64); }

template <class T>
struct Means {
  T g, g_s;
};

// One pass over a row, ŝ = (s − mean)·factor: ⟨g⟩, ⟨g · ŝ⟩ and this row's share of the parameter gradients.
template <class T>
Means<T> reduce_row(const T* s, const T* dy, T mean, T factor, const T* weight, int64_t n, T* dweight, T* dbias) {
  T sum_g = 0, sum_g_s = 0;
#pragma omp simd reduction(+ : sum_g, sum_g_s)
  for (int64_t c = 0; c < n; ++c) {
    const T normalized = (s[c] - mean) * factor;
    const T g = dy[c] * weight[c];
    sum_g += g;
    sum_g_s += g * normalized;
    dweight[c] += dy[c] * normalized;
    dbias[c] += dy[c];
  }
  return {sum_g / static_cast<T>(n), sum_g_s / static_cast<T>(n)};
}

template <class T>
void backward_rows(const NormBackward& norm, Centering centering, const T* weight, const T* zeros, int64_t begin,
                   int64_t end, T* dweight, T* dbias) {
  const int64_t n = norm.x.shape[1];
  const auto buffer = scratch<T>(4 * n);
  for (int64_t r = begin; r < end; ++r) {
    const T* s = load_run(norm.x, r * norm.x.strides[0], n, buffer.get());
    const T* dy = load_run(norm.dy, r * norm.dy.strides[0], n, buffer.get() + n);
    const T* dsum = norm.dsum ? load_run(norm.dsum, r * norm.dsum.strides[0], n, buffer.get() + 2 * n) : zeros;
    const T mean = norm.mean ? norm.mean.as<T>()[r * norm.mean.strides[0]] : T{0};
    const T rstd = norm.rstd.as<T>()[r * norm.rstd.strides[0]];
    const T factor = norm.normalized ? T{1} : rstd;
    const Means<T> means = reduce_row(s, dy, mean, factor, weight, n, dweight, dbias);
    const T mean_g = centering == Centering::mean ? means.g : T{0};
    T* dx = target_run(norm.dx, r * norm.dx.strides[0], buffer.get() + 3 * n);
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) {
      const T normalized = (s[c] - mean) * factor;
      dx[c] = rstd * (dy[c] * weight[c] - mean_g - normalized * means.g_s) + dsum[c];
    }
    store_run(dx, norm.dx, r * norm.dx.strides[0], n);
  }
}

// Adds the chunks' partial sums, [chunks, 2, n], in their order.
template <class T>
void add_partials(const T* partials, int64_t chunks, int64_t n, float beta, const Out<1>& gradient) {
  if (!gradient) return;
  const Sum sum{.x = {partials, dtype_of<T>(), {1, chunks, n}, {0, 2 * n, 1}},
                .scale = 1,
                .beta = beta,
                .y = {gradient.data, gradient.dtype, {1, n}, {0, gradient.strides[0]}}};
  sum(Cpu{});
}

template <class T>
void backward(const NormBackward& norm, Centering centering) {
  const int64_t rows = norm.x.shape[0], n = norm.x.shape[1];
  const int64_t grain = rows_per_chunk(rows, n);
  const int64_t chunks = (rows + grain - 1) / grain;
  const std::vector<T> ones(n, 1), zeros(n, 0);
  const auto buffer = scratch<T>(n);
  const T* weight = norm.weight ? load_run(norm.weight, 0, n, buffer.get(), norm.weight.strides[0]) : ones.data();
  std::vector<T> partials(chunks * 2 * n, 0);
  parallel_chunks(rows, grain, [&](int64_t begin, int64_t end) {
    T* mine = partials.data() + begin / grain * 2 * n;
    backward_rows(norm, centering, weight, zeros.data(), begin, end, mine, mine + n);
  });
  add_partials(partials.data(), chunks, n, norm.dweight_beta, norm.dweight);
  add_partials(partials.data() + n, chunks, n, norm.dbias_beta, norm.dbias);
}

}  // namespace

void NormBackward::run(Centering centering) const {
  select_compute([&]<class T>() { backward<T>(*this, centering); }, x.dtype);
}

void LayerNormBackward::operator()(Cpu) const {
  const NormBackward norm{.x = x,
                          .weight = weight,
                          .mean = mean,
                          .rstd = rstd,
                          .dy = dy,
                          .dsum = dsum,
                          .dx = dx,
                          .dweight = dweight,
                          .dweight_beta = dweight_beta,
                          .dbias = dbias,
                          .dbias_beta = dbias_beta,
                          .normalized = normalized};
  norm.run(Centering::mean);
}

void RmsNormBackward::operator()(Cpu) const {
  const NormBackward norm{.x = x,
                          .weight = weight,
                          .mean = {},
                          .rstd = rstd,
                          .dy = dy,
                          .dsum = dsum,
                          .dx = dx,
                          .dweight = dweight,
                          .dweight_beta = dweight_beta,
                          .dbias = {},
                          .dbias_beta = 0,
                          .normalized = normalized};
  norm.run(Centering::none);
}

}  // namespace tessera
