#include "kernels/gradient_scan/range_factor.h"

#include <gtest/gtest.h>

#include "tests/kernels/array.h"

namespace tessera {
namespace {

double factor_for(double squared_norm, int64_t n) {
  Array factors(DType::f32, {2});
  std::vector<ScanResult, ManagedAllocator<ScanResult>> scan(1);
  scan[0].squared_norm = squared_norm;
  run_on_test_device(RangeFactor{.scan = scan.data(), .n = n, .factors = factors.out<1>().as<float>()});
  EXPECT_EQ(factors[0] * factors[1], 1);
  return factors[0];
}

TEST(RangeFactor, BringsTheRootMeanSquareToASixteenth) {
  EXPECT_EQ(factor_for(1000, 1000), 0x1p-4);
  EXPECT_EQ(factor_for(3 * 0x1p-40, 3), 0x1p16);
  EXPECT_EQ(factor_for(7 * 0x1p60, 7), 0x1p-34);
  for (const double rms : {0.3e-9, 5.0, 7.7e20}) {
    const double reached = rms * factor_for(100 * rms * rms, 100);
    EXPECT_GE(reached, 0x1p-4 * std::sqrt(0.499));
    EXPECT_LE(reached, 0x1p-4 * std::sqrt(2.001));
  }
}

TEST(RangeFactor, IsOneForZerosAndForWhatIsNotFinite) {
  EXPECT_EQ(factor_for(0, 5), 1);
  EXPECT_EQ(factor_for(INFINITY, 5), 1);
  EXPECT_EQ(factor_for(NAN, 5), 1);
}

TEST(RangeFactor, StaysANumberOfFloat32) {
  EXPECT_EQ(factor_for(1e-300, 1), 0x1p120);
  EXPECT_EQ(factor_for(1e300, 1), 0x1p-120);
}

}  // namespace
}  // namespace tessera
