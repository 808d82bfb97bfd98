#include <algorithm>
#include <vector>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/norm/deviation.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/norm/norm_cpu.h"
#include "kernels/norm/normalize.h"
#include "kernels/norm/rms_norm.h"

namespace tessera {
namespace {

template <class T>
std::vector<T> vector_or(const In<1>& given, int64_t n, T otherwise) {
  std::vector<T> values(n, otherwise);
  if (!given) return values;
  const T* found = load_run(given, 0, n, values.data(), given.strides[0]);
  if (found != values.data()) std::copy_n(found, n, values.data());
  return values;
}

template <class T>
struct Statistics {
  T mean, rstd;
};

template <class T>
struct Sums {
  T distances = 0, squares = 0;
};

// Of the distances of s to `near`. Runs are summed, then their sums, so that the digits lost do not grow with the row.
template <class T>
Sums<T> sums_around(T near, const T* s, int64_t n) {
  constexpr int64_t kRun = 512;
  Sums<T> all;
  for (int64_t begin = 0; begin < n; begin += kRun) {
    const int64_t end = std::min(n, begin + kRun);
    T distances = 0, squares = 0;
#pragma omp simd reduction(+ : distances, squares)
    for (int64_t c = begin; c < end; ++c) {
      const T distance = s[c] - near;
      distances += distance;
      squares += distance * distance;
    }
    all.distances += distances;
    all.squares += squares;
  }
  return all;
}

template <class T>
Statistics<T> statistics_of(const T* s, int64_t n, double epsilon, Centering centering) {
  T total = 0;
  if (centering == Centering::mean) {
#pragma omp simd reduction(+ : total)
    for (int64_t c = 0; c < n; ++c) total += s[c];
  }
  const T near = total / static_cast<T>(n);
  // Distances to a number near the mean are small, so their sums keep the digits that `total` has lost.
  const Sums<T> sums = sums_around(near, s, n);
  const T correction = centering == Centering::mean ? sums.distances / static_cast<T>(n) : T{0};
  const T variance = sums.squares / static_cast<T>(n) - correction * correction;
  return {near + correction, inverse_deviation(variance, static_cast<T>(epsilon))};
}

// s = x + residual as the rest of the row's work will see it: rounded to the dtype of `sum` where it is stored.
template <class T>
const T* sum_row(const NormForward& norm, int64_t r, T* buffer, T* other) {
  const int64_t n = norm.x.shape[1];
  const T* x = load_run(norm.x, r * norm.x.strides[0], n, buffer);
  if (!norm.residual && !norm.sum) return x;
  const int64_t offset = r * norm.sum.strides[0];
  T* s = norm.sum ? target_run(norm.sum, offset, buffer) : buffer;
  if (norm.residual) {
    const T* residual = load_run(norm.residual, r * norm.residual.strides[0], n, other);
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) s[c] = x[c] + residual[c];
  } else if (s != x) {
    std::copy_n(x, n, s);
  }
  if (!norm.sum) return s;
  store_run(s, norm.sum, offset, n);
  return load_run(read_only(norm.sum), offset, n, buffer);
}

template <class T>
void set(const Out<1>& y, int64_t i, T value) {
  if (y) y.as<T>()[i * y.strides[0]] = value;
}

template <class T>
void forward(const NormForward& norm, Centering centering) {
  const int64_t rows = norm.x.shape[0], n = norm.x.shape[1];
  const std::vector<T> weight = vector_or<T>(norm.weight, n, 1), bias = vector_or<T>(norm.bias, n, 0);
  parallel_chunks(rows, row_grain(n), [&](int64_t begin, int64_t end) {
    const auto buffer = scratch<T>(3 * n);
    for (int64_t r = begin; r < end; ++r) {
      const T* s = sum_row(norm, r, buffer.get(), buffer.get() + n);
      const Statistics<T> statistics = statistics_of(s, n, norm.epsilon, centering);
      set(norm.mean, r, statistics.mean);
      set(norm.rstd, r, statistics.rstd);
      T* y = target_run(norm.y, r * norm.y.strides[0], buffer.get() + 2 * n);
      normalize_row(s, statistics.mean, statistics.rstd, weight.data(), bias.data(), n, y);
      store_run(y, norm.y, r * norm.y.strides[0], n);
    }
  });
}

template <class T>
void normalize(const Normalize& norm) {
  const int64_t rows = norm.x.shape[0], n = norm.x.shape[1];
  const std::vector<T> weight = vector_or<T>(norm.weight, n, 1), bias = vector_or<T>(norm.bias, n, 0);
  parallel_chunks(rows, row_grain(n), [&](int64_t begin, int64_t end) {
    const auto buffer = scratch<T>(2 * n);
    for (int64_t r = begin; r < end; ++r) {
      const T* s = load_run(norm.x, r * norm.x.strides[0], n, buffer.get());
      const T mean = norm.mean ? norm.mean.as<T>()[r * norm.mean.strides[0]] : T{0};
      const T rstd = norm.rstd ? norm.rstd.as<T>()[r * norm.rstd.strides[0]] : T{1};
      T* y = target_run(norm.y, r * norm.y.strides[0], buffer.get() + n);
      normalize_row(s, mean, rstd, weight.data(), bias.data(), n, y);
      store_run(y, norm.y, r * norm.y.strides[0], n);
    }
  });
}

}  // namespace

void NormForward::run(Centering centering) const {
  select_compute([&]<class T>() { forward<T>(*this, centering); }, x.dtype);
}

void LayerNormForward::operator()(Cpu) const {
  const NormForward norm{.x = x,
                         .residual = residual,
                         .weight = weight,
                         .bias = bias,
                         .epsilon = epsilon,
                         .sum = sum,
                         .y = y,
                         .mean = mean,
                         .rstd = rstd};
  norm.run(Centering::mean);
}

void RmsNormForward::operator()(Cpu) const {
  const NormForward norm{.x = x,
                         .residual = residual,
                         .weight = weight,
                         .bias = {},
                         .epsilon = epsilon,
                         .sum = sum,
                         .y = y,
                         .mean = {},
                         .rstd = rstd};
  norm.run(Centering::none);
}

void Normalize::operator()(Cpu) const {
  select_compute([&]<class T>() { normalize<T>(*this); }, x.dtype);
}

}  // namespace tessera
