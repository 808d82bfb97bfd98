#include "tests/kernels/matmul/matmul_case.h"

#include <cmath>
#include <utility>

#include <gtest/gtest.h>

namespace tessera {
namespace {

In<3> turned(In<3> x) {
  std::swap(x.shape[1], x.shape[2]);
  std::swap(x.strides[1], x.strides[2]);
  return x;
}

double rounded(DType dtype, double x) {
  if (dtype == DType::f64) return x;
  const auto narrow = static_cast<float>(x);
  if (dtype == DType::f16) return static_cast<float>(Half(narrow));
  return dtype == DType::bf16 ? static_cast<float>(BFloat16(narrow)) : narrow;
}

}  // namespace

double activated(Activation activation, double x) {
  if (activation == Activation::gelu_exact) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  if (activation == Activation::gelu_tanh)
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  return x;
}

MatMulProblem::MatMulProblem(const MatMulCase& from)
    : is(from),
      a(Array::random(is.dtype, is.a_transposed ? Shape{is.B, is.K, is.M} : Shape{is.B, is.M, is.K}, 1, -1, 1,
                      is.padding)),
      b(Array::random(is.dtype, b_shape(), 2, -1, 1, is.padding)),
      bias(Array::random(is.bias.value_or(DType::f32), {is.N}, 3)),
      add(Array::random(is.add.value_or(DType::f32), {is.B, is.M, is.N}, 4, -1, 1, is.padding)),
      pre(is.c_dtype, {is.B, is.M, is.N}, is.padding),
      c(Array::random(is.c_dtype, {is.B, is.M, is.N}, 5, -1, 1, is.padding)) {
  if (is.beta == 0) {
    for (int64_t i = 0; i < c.numel(); ++i) c.set(i, NAN);
  }
  compute_expected();
}

void MatMulProblem::run() {
  In<3> right = is.b_transposed ? turned(b.in<3>()) : b.in<3>();
  if (is.b_shared) {
    right.shape[0] = is.B;
    right.strides[0] = 0;
  }
  run_on_test_device(MatMul{.a = is.a_transposed ? turned(a.in<3>()) : a.in<3>(),
                            .b = right,
                            .bias = is.bias ? bias.in<1>() : In<1>{},
                            .add = is.add ? add.in<3>() : In<3>{},
                            .activation = is.activation,
                            .pre_activation = is.keeps_pre_activation ? pre.out<3>() : Out<3>{},
                            .c = c.out<3>(),
                            .beta = is.beta});
}

void MatMulProblem::check() {
  const double sum = rounding_unit(accumulate_dtype(is.dtype)) * (8.0 + 2.0 * is.K);
  const double store = rounding_unit(is.c_dtype);
  const double flip = is.activation == Activation::none ? 0 : 2 * store;  // p rounded the other way
  expect_close(c, expected, 2 * store + flip, sum + flip);
  if (is.keeps_pre_activation) expect_close(pre, expected_pre, 2 * store, sum);
}

MatMulProblem::Shape MatMulProblem::b_shape() const {
  const int64_t batches = is.b_shared ? 1 : is.B;
  return is.b_transposed ? Shape{batches, is.N, is.K} : Shape{batches, is.K, is.N};
}

void MatMulProblem::compute_expected() {
  const std::vector<double> left = a.values(), right = b.values();
  for (int64_t batch = 0; batch < is.B; ++batch) {
    for (int64_t m = 0; m < is.M; ++m) {
      for (int64_t n = 0; n < is.N; ++n) {
        double p = is.bias ? bias[n] : 0;
        const int64_t other = is.b_shared ? 0 : batch;
        for (int64_t k = 0; k < is.K; ++k) {
          const int64_t at_a = is.a_transposed ? k * is.M + m : m * is.K + k;
          const int64_t at_b = is.b_transposed ? n * is.K + k : k * is.N + n;
          p += left[batch * is.M * is.K + at_a] * right[other * is.K * is.N + at_b];
        }
        const int64_t i = static_cast<int64_t>(expected.size());
        if (is.activation != Activation::none) p = rounded(is.c_dtype, p);
        expected_pre.push_back(p);
        double y = activated(is.activation, p);
        if (is.add) y += add[i];
        if (is.beta != 0) y += is.beta * c[i];
        expected.push_back(y);
      }
    }
  }
}

void check(const MatMulCase& is) {
  SCOPED_TRACE(::testing::Message() << is.B << "·[" << is.M << ", " << is.K << "]·[" << is.K << ", " << is.N << "] "
                                    << to_string(is.dtype) << " to " << to_string(is.c_dtype)
                                    << (is.a_transposed ? " aᵀ" : "") << (is.b_transposed ? " bᵀ" : "")
                                    << (is.b_shared ? " shared" : "") << " padding " << is.padding << " activation "
                                    << to_string(is.activation) << " beta " << is.beta);
  MatMulProblem problem(is);
  problem.run();
  problem.check();
}

}  // namespace tessera
