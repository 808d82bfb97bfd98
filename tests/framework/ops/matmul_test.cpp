#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

std::vector<double> product(const Tensor& a, const Tensor& b, int64_t batch) {
  const int64_t m = a.dim(-2), k = a.dim(-1), n = b.dim(-1);
  const std::vector<double> left = doubles(a), right = doubles(b);
  std::vector<double> y(batch * m * n);
  for (int64_t i = 0; i < batch; ++i)
    for (int64_t r = 0; r < m; ++r)
      for (int64_t c = 0; c < n; ++c)
        for (int64_t s = 0; s < k; ++s) {
          const int64_t at_a = a.numel() == m * k ? 0 : i * m * k, at_b = b.numel() == k * n ? 0 : i * k * n;
          y[(i * m + r) * n + c] += left[at_a + r * k + s] * right[at_b + s * n + c];
        }
  return y;
}

TEST(Matmul, MatricesAndBatches) {
  const std::vector<std::pair<Shape, Shape>> cases = {
      {{5, 3}, {3, 7}},       {{4, 5, 3}, {4, 3, 7}}, {{4, 5, 3}, {3, 7}},   {{5, 3}, {4, 3, 7}},
      {{1, 5, 3}, {4, 3, 7}}, {{4, 5, 3}, {1, 3, 7}}, {{1, 1, 1}, {1, 1, 1}}};
  for (const auto& [a_shape, b_shape] : cases) {
    SCOPED_TRACE(to_string(a_shape) + " " + to_string(b_shape));
    const Tensor a = uniform(a_shape, 1), b = uniform(b_shape, 2);
    const int64_t batch = std::max(a.rank() == 3 ? a.dim(0) : 1, b.rank() == 3 ? b.dim(0) : 1);
    check_op([](std::span<const Variable> v) { return ops::matmul(v[0], v[1]); }, {a, b}, product(a, b, batch));
  }
}

TEST(Matmul, AMatrixTimesItself) {
  const Tensor a = uniform({4, 4}, 1);
  check_op([](std::span<const Variable> v) { return ops::matmul(v[0], v[0]); }, {a}, product(a, a, 1));
}

TEST(Matmul, SaysWhatDoesNotFit) {
  const Variable a = Tensor::zeros({2, 5, 3}, DType::f32);
  expect_error([&] { ops::matmul(a, Tensor::zeros({4, 7}, DType::f32)); }, "matmul: the last extent of [2, 5, 3]");
  expect_error([&] { ops::matmul(a, Tensor::zeros({3, 3, 7}, DType::f32)); }, "matmul: the batches of");
  expect_error([&] { ops::matmul(a, Tensor::zeros({3}, DType::f32)); }, "must be matrices");
  expect_error(
      [&] {
        ops::matmul(a, Tensor::zeros({3, 7}, DType::bf16));
      },
      "matmul: float32 and bfloat16 must have one dtype");
}

}  // namespace
}  // namespace tessera
