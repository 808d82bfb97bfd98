// The answer of attention by its definition, and how far another may be from it.
#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/kernels/flash_attention/attention_case.h"

namespace tessera {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Below this root mean square an answer in double is the rounding of an exact zero: 50 roundings of numbers of order
// one.
constexpr double kZero = 1e-14;
// What an error is divided by then: 1e-5 of it are five roundings of f32 numbers of order one.
constexpr double kZeroUnit = 0.03;

/// One row of the matrices [N, M]: every key that query i of head h sees, its score and its weight.
class Row {
 public:
  Row(const AttentionCase& c, DType dtype, int64_t b, int64_t h, int64_t i)
      : c_(c), dtype_(dtype), b_(b), h_(h), i_(i), at_(((b * c.N + i) * c.H + h) * c.D) {
    for (int64_t j = 0; j < c.M; ++j) {
      if (c.visible(b, h, i, j)) keys_.push_back({.j = j, .at = ((b * c.M + j) * c.KvH + h / (c.H / c.KvH)) * c.D});
    }
  }

  void forward(AttentionAnswer& a) {
    double most = -kInfinity, sum = 0;
    for (Key& key : keys_) {
      key.s = round(round(product(c_.q, at_, c_.k, key.at)) * c_.scale());
      if (c_.softcap != 0) key.s = c_.softcap * std::tanh(key.s / c_.softcap);
      key.s -= bias(key);
      most = key.s > most ? key.s : most;
    }
    for (Key& key : keys_) sum += key.p = std::exp(key.s - most);
    a.lse[(b_ * c_.H + h_) * c_.N + i_] = sum == 0 ? -kInfinity : most + std::log(sum);
    for (Key& key : keys_) {
      key.p = round(key.p / sum);
      key.kept = c_.kept(b_, h_, i_, key.j);
      add(round(key.p * key.kept), c_.v, key.at, a.out, at_);
    }
    for (int64_t d = 0; d < c_.D; ++d) a.out[at_ + d] = round(a.out[at_ + d]);
  }

  void backward(AttentionAnswer& a) const {
    const double delta = product(c_.dout, at_, a.out, at_);
    for (const Key& key : keys_) {
      const double dp = round(product(c_.dout, at_, c_.v, key.at));
      const double of_cap = c_.softcap == 0 ? 0 : (key.s + bias(key)) / c_.softcap;
      const double ds = round(round(key.p * (dp * key.kept - delta) * (1 - of_cap * of_cap)) * c_.scale());
      add(ds, c_.k, key.at, a.dq, at_);
      add(ds, c_.q, at_, a.dk, key.at);
      add(round(key.p * key.kept), c_.dout, at_, a.dv, key.at);
    }
  }

 private:
  struct Key {
    int64_t j, at;
    double s = 0, p = 0, kept = 0;
  };
  using Values = std::vector<double>;

  double round(double value) const { return rounded(value, dtype_); }
  double bias(const Key& key) const {
    return c_.slopes.empty() ? 0 : c_.slopes[h_] * std::fabs(static_cast<double>(i_ + c_.M - c_.N - key.j));
  }
  double product(const Values& x, int64_t x_at, const Values& y, int64_t y_at) const {
    double sum = 0;
    for (int64_t d = 0; d < c_.D; ++d) sum += x[x_at + d] * y[y_at + d];
    return sum;
  }
  void add(double factor, const Values& x, int64_t x_at, Values& y, int64_t y_at) const {
    for (int64_t d = 0; d < c_.D; ++d) y[y_at + d] += factor * x[x_at + d];
  }

  const AttentionCase& c_;
  DType dtype_;
  int64_t b_, h_, i_, at_;
  std::vector<Key> keys_;
};

}  // namespace

AttentionAnswer plain_attention(const AttentionCase& c, DType dtype) {
  AttentionAnswer a;
  a.out.resize(c.q.size()), a.dq.resize(c.q.size()), a.dk.resize(c.k.size()), a.dv.resize(c.v.size());
  a.lse.resize(static_cast<size_t>(c.B * c.H * c.N));
  for (int64_t b = 0; b < c.B; ++b) {
    for (int64_t h = 0; h < c.H; ++h) {
      for (int64_t i = 0; i < c.N; ++i) {
        Row row(c, dtype, b, h, i);
        row.forward(a);
        row.backward(a);
      }
    }
  }
  for (auto* gradient : {&a.dq, &a.dk, &a.dv}) {
    for (double& value : *gradient) value = rounded(value, dtype);
  }
  return a;
}

AttentionAnswer exact_attention(const AttentionCase& c) { return plain_attention(c, DType::f64); }

double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, size = 0;
  if (b.empty()) return 0;
  for (size_t i = 0; i < b.size(); ++i) {
    if (std::isnan(a[i]) != std::isnan(b[i])) return kInfinity;
    if (!std::isfinite(b[i])) {
      if (a[i] != b[i] && !std::isnan(b[i])) return kInfinity;
      continue;
    }
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  const double length = std::sqrt(size), root = std::sqrt(static_cast<double>(b.size()));
  return std::sqrt(difference) / (length > kZero * root ? length : kZeroUnit * root);
}

double largest_error(const AttentionAnswer& a, const AttentionAnswer& b) {
  return std::max({relative_error(a.out, b.out), relative_error(a.lse, b.lse), relative_error(a.dq, b.dq),
                   relative_error(a.dk, b.dk), relative_error(a.dv, b.dv)});
}

AttentionRule::AttentionRule(const AttentionCase& c, DType dtype) : dtype_(dtype), exact_(exact_attention(c)) {
  if (is_16bit_float(dtype)) plain_ = plain_attention(c, dtype);
}

void AttentionRule::expect(const AttentionCase& c) const {
  SCOPED_TRACE(testing::Message() << c.describe() << " dtype=" << name_of(dtype_));
  const AttentionAnswer found = run_attention(c, dtype_);
  if (!is_16bit_float(dtype_)) {
    EXPECT_LT(largest_error(found, exact_), dtype_ == DType::f64 ? 1e-12 : 1e-5);
    return;
  }
  EXPECT_LE(largest_error(found, exact_), dtype_ == DType::bf16 ? 1e-2 : 2e-3);
  EXPECT_LE(relative_error(found.out, exact_.out), 2 * relative_error(plain_.out, exact_.out));
  EXPECT_LE(relative_error(found.lse, exact_.lse), 1e-5);
  EXPECT_LE(relative_error(found.dq, exact_.dq), 3 * relative_error(plain_.dq, exact_.dq));
  EXPECT_LE(relative_error(found.dk, exact_.dk), 3 * relative_error(plain_.dk, exact_.dk));
  EXPECT_LE(relative_error(found.dv, exact_.dv), 3 * relative_error(plain_.dv, exact_.dv));
}

}  // namespace tessera
