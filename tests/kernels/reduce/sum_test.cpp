#include "kernels/reduce/sum.h"

#include <gtest/gtest.h>

#include "tests/kernels/array.h"

namespace tessera {
namespace {

std::vector<double> reference(const Array& x, int64_t outer, int64_t n, int64_t inner) {
  std::vector<double> y(outer * inner);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t k = 0; k < n; ++k)
      for (int64_t i = 0; i < inner; ++i) y[o * inner + i] += x[(o * n + k) * inner + i];
  return y;
}

TEST(Sum, ShapesAndDtypes) {
  const std::vector<std::array<int64_t, 3>> shapes = {{1, 1, 1},     {1, 300, 5},  {3, 129, 65}, {2, 0, 3}, {0, 4, 4},
                                                      {4, 10000, 1}, {1, 7, 2500}, {300, 9, 1},  {5, 3, 0}};
  for (const auto& [outer, n, inner] : shapes) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
      const Array x = Array::random(dtype, {outer, n, inner}, 1, -1, 1, 3);
      Array y(accumulate_dtype(dtype), {outer, inner}, 2);
      for (int64_t i = 0; i < y.numel(); ++i) y.set(i, NAN);
      run_on_test_device(Sum{.x = x.in<3>(), .scale = 1, .beta = 0, .y = y.out<2>()});
      SCOPED_TRACE(to_string(dtype));
      const double unit = rounding_unit(accumulate_dtype(dtype));
      expect_close(y, reference(x, outer, n, inner), unit, 16 * unit * std::sqrt(n));
    }
  }
}

TEST(Sum, ScalesAndAccumulatesIntoAnyDtype) {
  const Array x = Array::random(DType::bf16, {2, 40, 6}, 1);
  Array y = Array::of(DType::f16, {2, 6}, std::vector<double>(12, 3.0));
  run_on_test_device(Sum{.x = x.in<3>(), .scale = 0.5, .beta = 1, .y = y.out<2>()});
  std::vector<double> expected = reference(x, 2, 40, 6);
  for (double& value : expected) value = 3 + 0.5 * value;
  expect_close(y, expected, rounding_unit(DType::f16), 1e-6);
}

TEST(Sum, AnyStrides) {
  const Array x = Array::random(DType::f32, {3, 50, 7}, 1);
  In<3> turned = x.in<3>();  // [7, 50, 3]: no axis but the middle one where it was, and nothing contiguous
  std::swap(turned.shape[0], turned.shape[2]);
  std::swap(turned.strides[0], turned.strides[2]);
  Array y(DType::f64, {7, 3});
  run_on_test_device(Sum{.x = turned, .scale = 1, .beta = 0, .y = y.out<2>()});
  const std::vector<double> expected = reference(x, 3, 50, 7);
  for (int64_t i = 0; i < 7; ++i)
    for (int64_t o = 0; o < 3; ++o) EXPECT_NEAR(y[i * 3 + o], expected[o * 7 + i], 1e-12);

  In<3> repeated = x.in<3>();  // the middle axis is broadcast
  repeated.strides[1] = 0;
  Array thrice(DType::f32, {3, 7});
  run_on_test_device(Sum{.x = repeated, .scale = 1, .beta = 0, .y = thrice.out<2>()});
  for (int64_t o = 0; o < 3; ++o)
    for (int64_t i = 0; i < 7; ++i) EXPECT_NEAR(thrice[o * 7 + i], 50 * x[o * 350 + i], 1e-4);
}

// A plain f32 loop over these would stop growing at 2^24 = 16.8 million times the smallest addend. So many that a block
// of a GPU has several batches of them.
TEST(Sum, LongSumsKeepTheirDigits) {
  const int64_t n = 4'200'000;
  const Array x = Array::of(DType::f32, {1, n, 1}, std::vector<double>(n, 0.1));
  Array y(DType::f32, {1, 1});
  run_on_test_device(Sum{.x = x.in<3>(), .scale = 1, .beta = 0, .y = y.out<2>()});
  EXPECT_NEAR(y[0], n * static_cast<double>(0.1f), 5);

  const In<3> columns{x.in<3>().data, DType::f32, {1, n / 2, 2}, {0, 2, 1}};
  Array pair(DType::f32, {1, 2});
  run_on_test_device(Sum{.x = columns, .scale = 1, .beta = 0, .y = pair.out<2>()});
  EXPECT_NEAR(pair[1], n / 2 * static_cast<double>(0.1f), 5);
}

TEST(Sum, SameBitsOnAnyThreads) {
  const Array x = Array::random(DType::f32, {2, 3000, 33}, 1);
  expect_same_on_any_threads([&] {
    Array y(DType::f32, {2, 33}), whole(DType::f32, {1, 1});
    run_on_test_device(Sum{.x = x.in<3>(), .scale = 1, .beta = 0, .y = y.out<2>()});
    const In<3> flat{x.in<3>().data, DType::f32, {1, x.numel(), 1}, {0, 1, 1}};
    run_on_test_device(Sum{.x = flat, .scale = 1, .beta = 0, .y = whole.out<2>()});
    std::vector<std::byte> both = y.bytes();
    const std::vector<std::byte> more = whole.bytes();
    both.insert(both.end(), more.begin(), more.end());
    return both;
  });
}

}  // namespace
}  // namespace tessera
