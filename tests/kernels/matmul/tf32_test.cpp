// TF32 is asked for, and then only for f32.
#include <gtest/gtest.h>
#ifdef TESSERA_WITH_CUDA

#include "kernels/matmul/matmul.h"
#include "kernels/matmul/product_cuda.h"
#include "tests/kernels/array.h"

namespace tessera {
namespace {

/// The largest error of a product of numbers near 1 whose mantissas are full.
double error_of_product(DType dtype) {
  constexpr int64_t kSize = 32;
  const Array a = Array::random(dtype, {1, kSize, kSize}, 1, 1, 2),
              b = Array::random(dtype, {1, kSize, kSize}, 2, 1, 2);
  Array c(dtype, {1, kSize, kSize});
  run_on_test_device(MatMul{.a = a.in<3>(),
                            .b = b.in<3>(),
                            .bias = {},
                            .add = {},
                            .activation = Activation::none,
                            .pre_activation = {},
                            .c = c.out<3>(),
                            .beta = 0});
  double worst = 0;
  for (int64_t i = 0; i < kSize; ++i) {
    for (int64_t j = 0; j < kSize; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < kSize; ++k) sum += a[i * kSize + k] * b[k * kSize + j];
      worst = std::max(worst, std::fabs(c[i * kSize + j] - sum) / sum);
    }
  }
  return worst;
}

TEST(Tf32, IsOffUntilAskedFor) {
  if (test_device().is_cpu()) GTEST_SKIP() << "of the GPU";
  EXPECT_LT(error_of_product(DType::f32), 1e-6);
  set_tf32(true);
  const double rounded = error_of_product(DType::f32), wide = error_of_product(DType::f64);
  set_tf32(false);
  EXPECT_GT(rounded, 1e-6);
  EXPECT_LT(rounded, 1e-3);
  EXPECT_LT(wide, 1e-14);
  EXPECT_LT(error_of_product(DType::f32), 1e-6);
}

}  // namespace
}  // namespace tessera
#endif
