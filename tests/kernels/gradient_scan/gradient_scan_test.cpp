#include "kernels/gradient_scan/gradient_scan.h"

#include <limits>

#include <gtest/gtest.h>

#include "tests/kernels/array.h"

namespace tessera {
namespace {

constexpr DType kDTypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16};

ScanResult scan(const Array& gradient) {
  Managed<ScanResult> result;
  run_on_test_device(GradientScan{.gradient = gradient.in<1>(), .result = result.get()});
  return *result;
}

TEST(GradientScan, SumsSquaresOfEveryDtypeAndSize) {
  for (const DType dtype : kDTypes) {
    for (const int64_t n : {0, 1, 31, 33, 1000, 1025, 20001, 300007}) {
      const Array gradient = Array::random(dtype, {n}, 1);
      double expected = 0;
      for (const double value : gradient.values()) expected += value * value;
      const ScanResult result = scan(gradient);
      EXPECT_NEAR(result.squared_norm, expected, 1e-12 * expected) << to_string(dtype) << " " << n;
      EXPECT_EQ(result.finite, 1);
    }
  }
}

TEST(GradientScan, SeesANonFiniteElementAnywhere) {
  for (const DType dtype : kDTypes) {
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                             -std::numeric_limits<double>::infinity()}) {
      for (const int64_t place : {0, 15, 1024, 29999, 30000}) {
        Array gradient = Array::random(dtype, {30001}, 1);
        gradient.set(place, bad);
        EXPECT_EQ(scan(gradient).finite, 0) << to_string(dtype) << " " << bad << " at " << place;
      }
    }
  }
}

TEST(GradientScan, HugeElementsAreFinite) {
  const ScanResult narrow = scan(Array::of(DType::f32, {2}, {3e38, -3e38}));
  EXPECT_EQ(narrow.finite, 1);
  EXPECT_NEAR(narrow.squared_norm, 1.8e77, 1e72);
  const ScanResult wide = scan(Array::of(DType::f64, {2}, {1e300, 1}));  // the square overflows, the element does not
  EXPECT_EQ(wide.finite, 1);
  EXPECT_EQ(wide.squared_norm, std::numeric_limits<double>::infinity());
}

TEST(GradientScan, RangesAddUp) {
  const Array one = Array::of(DType::f32, {2}, {3, 4});
  const Array two = Array::of(DType::f64, {1}, {NAN});
  const Array three = Array::of(DType::f32, {1}, {2});
  Managed<ScanResult> result;
  run_on_test_device(GradientScan{.gradient = one.in<1>(), .result = result.get()});
  run_on_test_device(GradientScan{.gradient = three.in<1>(), .result = result.get()});
  EXPECT_EQ(result->squared_norm, 29);
  EXPECT_EQ(result->finite, 1);
  run_on_test_device(GradientScan{.gradient = two.in<1>(), .result = result.get()});
  run_on_test_device(GradientScan{.gradient = one.in<1>(), .result = result.get()});
  EXPECT_EQ(result->finite, 0);
}

TEST(GradientScan, SameBitsOnAnyNumberOfThreads) {
  const Array gradient = Array::random(DType::f32, {1000003}, 5);
  expect_same_on_any_threads([&] {
    const double norm = scan(gradient).squared_norm;
    std::vector<std::byte> bytes(sizeof(norm));
    std::memcpy(bytes.data(), &norm, sizeof(norm));
    return bytes;
  });
}

}  // namespace
}  // namespace tessera
