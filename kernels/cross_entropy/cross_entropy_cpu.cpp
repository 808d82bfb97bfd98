#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/common/vector_math.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace tessera {
namespace {

// log Σ exp of a row as max + log(sum), both parts apart: their difference to a logit keeps its digits.
template <class T>
struct Softmax {
  T max = -std::numeric_limits<T>::infinity();
  T sum = 0;

  void add(const T* x, int64_t n) {
    T highest = max;
#pragma omp simd reduction(max : highest)
    for (int64_t k = 0; k < n; ++k) highest = x[k] > highest ? x[k] : highest;
    const T shift = highest == -std::numeric_limits<T>::infinity() ? T{0} : highest;  // −∞ − −∞ would be NaN
    T total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t k = 0; k < n; ++k) total += fast_exp(x[k] - shift);
    sum = sum * fast_exp(max - shift) + total;
    max = highest;
  }
};

int32_t target_of(const In<1>& targets, int64_t r) { return targets.as<int32_t>()[r * targets.strides[0]]; }

template <class T>
void set(const Out<1>& y, int64_t i, T value) {
  y.as<T>()[i * y.strides[0]] = value;
}

template <class T>
void forward_row(const CrossEntropyForward& op, int64_t r) {
  const int64_t width = op.logits.shape[1], row = r * op.logits.strides[0];
  const int32_t t = target_of(op.targets, r);
  const bool inside = t >= 0 && t < width;
  if (t == op.ignore_index || !inside) {
    if (t != op.ignore_index) raise_status(op.status, static_cast<int32_t>(r + 1));
    set(op.loss, r, T{0});
    set(op.lse, r, T{0});
    return;
  }
  T buffer[kRun];
  Softmax<T> softmax;
  for (int64_t i = 0; i < width; i += kRun) {
    const int64_t n = std::min(kRun, width - i);
    softmax.add(load_run(op.logits, row + i, n, buffer), n);
  }
  const T log_sum = std::log(softmax.sum);
  set(op.loss, r, (softmax.max - *load_run(op.logits, row + t, 1, buffer)) + log_sum);
  set(op.lse, r, softmax.max + log_sum);
}

template <class T>
void backward_row(const CrossEntropyBackward& op, T factor, int64_t r) {
  const int64_t width = op.logits.shape[1];
  const int32_t t = target_of(op.targets, r);
  const bool counts = t != op.ignore_index && t >= 0 && t < width;
  const T lse = op.lse.as<T>()[r * op.lse.strides[0]];
  T x_buffer[kRun], dx_buffer[kRun];
  for (int64_t i = 0; i < width; i += kRun) {
    const int64_t n = std::min(kRun, width - i), at = r * op.dlogits.strides[0] + i;
    T* dx = target_run(op.dlogits, at, dx_buffer);
    if (counts) {
      const T* x = load_run(op.logits, r * op.logits.strides[0] + i, n, x_buffer);
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) dx[k] = factor * fast_exp(x[k] - lse);
      if (t >= i && t < i + n) dx[t - i] -= factor;
    } else {
      std::fill_n(dx, n, T{0});
    }
    store_run(dx, op.dlogits, at, n);
  }
}

double one_or(const In<0>& x) {
  double one = 1;
  return x ? *load_run(x, 0, 1, &one) : one;
}

}  // namespace

void CrossEntropyForward::operator()(Cpu) const {
  const CrossEntropyBackward gradient{.logits = logits,
                                      .targets = targets,
                                      .ignore_index = ignore_index,
                                      .lse = read_only(lse),
                                      .dloss = dloss,
                                      .scale = scale,
                                      .dlogits = dlogits};
  select_compute(
      [&]<class T>() {
        const T factor = static_cast<T>(one_or(dloss) * scale);
        parallel_for(logits.shape[0], row_grain(logits.shape[1]), [&](int64_t r) {
          forward_row<T>(*this, r);
          if (dlogits) backward_row(gradient, factor, r);  // while the row is in the cache
        });
      },
      logits.dtype);
}

void CrossEntropyBackward::operator()(Cpu) const {
  select_compute(
      [&]<class T>() {
        const T factor = static_cast<T>(one_or(dloss) * scale);
        parallel_for(logits.shape[0], row_grain(logits.shape[1]),
                     [&](int64_t r) { backward_row<T>(*this, factor, r); });
      },
      logits.dtype);
}

void CrossEntropyCorrection::operator()(Cpu) const {
  const double wanted = one_or(arriving), formed = one_or(expected);
  if (wanted == formed) return;
  select_compute(
      [&]<class T>() {
        const T factor = static_cast<T>(wanted / formed);
        parallel_for(dlogits.shape[0], row_grain(dlogits.shape[1]), [&](int64_t r) {
          T buffer[kRun];
          for (int64_t i = 0; i < dlogits.shape[1]; i += kRun) {
            const int64_t n = std::min(kRun, dlogits.shape[1] - i), at = r * dlogits.strides[0] + i;
            const T* x = load_run(read_only(dlogits), at, n, buffer);
            T* y = target_run(dlogits, at, buffer);
            for (int64_t k = 0; k < n; ++k) y[k] = x[k] * factor;
            store_run(y, dlogits, at, n);
          }
        });
      },
      dlogits.dtype);
}

}  // namespace tessera
