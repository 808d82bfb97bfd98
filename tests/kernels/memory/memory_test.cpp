#include "kernels/memory/memory.h"

#include <gtest/gtest.h>

#include "tests/kernels/array.h"

namespace tessera {
namespace {

constexpr DType kDTypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16,   DType::i64,
                             DType::i32, DType::u16, DType::u8,  DType::boolean};

/// What the values of an array become in `dtype`, by way of double.
std::vector<double> converted(const Array& x, DType dtype) {
  std::vector<double> values = x.values();
  for (double& value : values) {
    if (dtype == DType::boolean) value = value != 0 ? 1 : 0;
    else if (!is_floating(dtype)) value = std::trunc(value);
  }
  return Array::of(dtype, {x.numel()}, values).values();
}

/// Copies x to y, whose axis i is x's axis order[i], and checks every element.
void check_copy(const Array& x, DType y_dtype, std::vector<int64_t> shape, std::array<int, 5> order) {
  std::vector<int64_t> y_shape(5);
  In<5> source = x.in<5>();
  In<5> turned = source;
  for (int i = 0; i < 5; ++i) {
    y_shape[i] = shape[order[i]];
    turned.shape[i] = source.shape[order[i]];
    turned.strides[i] = source.strides[order[i]];
  }
  Array y(y_dtype, y_shape, 3);
  const Array untouched = y;
  run_on_test_device(Copy{.x = turned, .y = y.out<5>()});
  const std::vector<double> expected = converted(x, y_dtype);
  int64_t i = 0;
  std::array<int64_t, 5> at{};
  for (at[0] = 0; at[0] < y_shape[0]; ++at[0])
    for (at[1] = 0; at[1] < y_shape[1]; ++at[1])
      for (at[2] = 0; at[2] < y_shape[2]; ++at[2])
        for (at[3] = 0; at[3] < y_shape[3]; ++at[3])
          for (at[4] = 0; at[4] < y_shape[4]; ++at[4], ++i) {
            std::array<int64_t, 5> from{};
            for (int axis = 0; axis < 5; ++axis) from[order[axis]] = at[axis];
            int64_t index = 0;
            for (int axis = 0; axis < 5; ++axis) index = index * shape[axis] + from[axis];
            ASSERT_EQ(y[i], expected[index]) << "element " << i;
          }
  // The padding behind each row keeps its bytes.
  Array all_back = y;
  for (int64_t k = 0; k < y.numel(); ++k) all_back.set(k, untouched[k]);
  EXPECT_TRUE(all_back.bytes() == untouched.bytes());
}

TEST(Copy, ConvertsBetweenAnyTwoDtypes) {
  for (const DType from : kDTypes) {
    for (const DType to : kDTypes) {
      SCOPED_TRACE(to_string(from) + " to " + to_string(to));
      const double low = is_floating(to) && (is_floating(from) || from == DType::i32) ? -90 : 0;
      const Array x = Array::random(from, {2, 1, 3, 5, 37}, 1, low, from == DType::boolean ? 2 : 90, 2);
      check_copy(x, to, {2, 1, 3, 5, 37}, {0, 1, 2, 3, 4});  // rows
      check_copy(x, to, {2, 1, 3, 5, 37}, {0, 1, 2, 4, 3});  // transposed
      check_copy(x, to, {2, 1, 3, 5, 37}, {4, 2, 1, 3, 0});  // neither innermost axis contiguous
    }
  }
}

TEST(Copy, EveryOrderOfAxes) {
  const Array x = Array::random(DType::f32, {2, 3, 9, 17, 10}, 1);
  std::array<int, 5> order{0, 1, 2, 3, 4};
  do check_copy(x, DType::f32, {2, 3, 9, 17, 10}, order);
  while (std::next_permutation(order.begin(), order.end()) && !HasFailure());
}

TEST(Copy, LongRowsAndLargeTransposes) {
  check_copy(Array::random(DType::f32, {1, 1, 1, 1, 100001}, 1), DType::f32, {1, 1, 1, 1, 100001}, {0, 1, 2, 3, 4});
  check_copy(Array::random(DType::f32, {1, 1, 1, 3, 40001}, 1), DType::bf16, {1, 1, 1, 3, 40001}, {0, 1, 2, 3, 4});
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64, DType::u8})
    check_copy(Array::random(dtype, {1, 1, 2, 203, 331}, 1, 0, 9), dtype, {1, 1, 2, 203, 331}, {0, 1, 2, 4, 3});
  for (const std::array<int, 5>& order : {std::array{0, 4, 2, 3, 1}, {4, 1, 0, 3, 2}, {3, 2, 4, 0, 1}})
    check_copy(Array::random(DType::bf16, {2, 33, 3, 35, 70}, 1), DType::bf16, {2, 33, 3, 35, 70}, order);
}

TEST(Copy, RoundsToNearestEven) {
  const Array x = Array::of(DType::f32, {1, 1, 1, 1, 4}, {1 + 0x1p-8, 1 + 3 * 0x1p-8, 1e39, NAN});
  Array y(DType::bf16, {1, 1, 1, 1, 4});
  run_on_test_device(Copy{.x = x.in<5>(), .y = y.out<5>()});
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 1 + 0x1p-6);
  EXPECT_TRUE(std::isinf(y[2]));
  EXPECT_TRUE(std::isnan(y[3]));
}

TEST(Copy, BroadcastsAndTouchesNothingWhenEmpty) {
  const Array x = Array::of(DType::f32, {1, 1, 1, 3, 1}, {1, 2, 3});
  In<5> broad = x.in<5>();
  broad.shape = {1, 2, 1, 3, 70};
  broad.strides = {0, 0, 0, 1, 0};
  for (const DType dtype : {DType::f32, DType::i64}) {
    Array y(dtype, {1, 2, 1, 3, 70});
    run_on_test_device(Copy{.x = broad, .y = y.out<5>()});
    for (int64_t i = 0; i < y.numel(); ++i) ASSERT_EQ(y[i], 1 + i / 70 % 3);
  }
  run_on_test_device(
      Copy{.x = {nullptr, DType::f32, {1, 0, 2, 3, 4}, {}}, .y = {nullptr, DType::f32, {1, 0, 2, 3, 4}, {}}});
}

TEST(Fill, EveryDtypeAndStride) {
  for (const DType dtype : kDTypes) {
    for (const int64_t n : {0, 1, 33, 50001}) {
      Array y(dtype, {n});
      run_on_test_device(Fill{.y = y.out<1>(), .value = 7});
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(y[i], dtype == DType::boolean ? 1 : 7) << to_string(dtype);
    }
    Array y(dtype, {9, 2});
    Out<1> column{y.out<2>().data, dtype, {9}, {2}};
    run_on_test_device(Fill{.y = column, .value = 1});
    for (int64_t i = 0; i < 18; ++i) ASSERT_EQ(y[i], 1 - i % 2) << to_string(dtype);
  }
}

TEST(ToMask, AcceptsZerosAndOnesOnly) {
  for (const DType dtype : kDTypes) {
    Array x(dtype, {41});
    for (int64_t i = 0; i < 41; ++i) x.set(i, i % 3 == 0);
    Array y(DType::boolean, {41});
    Managed<int32_t> not_binary;
    run_on_test_device(ToMask{.x = x.in<1>(), .y = y.out<1>(), .not_binary = not_binary.get()});
    EXPECT_EQ(*not_binary, 0) << to_string(dtype);
    for (int64_t i = 0; i < 41; ++i) ASSERT_EQ(y[i], i % 3 == 0);
    if (dtype == DType::boolean) continue;
    x.set(40, is_floating(dtype) ? 0.5 : 2);
    run_on_test_device(ToMask{.x = x.in<1>(), .y = y.out<1>(), .not_binary = not_binary.get()});
    EXPECT_EQ(*not_binary, 1) << to_string(dtype);
  }
}

TEST(ToMask, RefusesNaNAndKeepsWhatItFound) {
  const Array x = Array::of(DType::f32, {3}, {0, NAN, 1});
  Array y(DType::boolean, {3});
  Managed<int32_t> not_binary;
  run_on_test_device(ToMask{.x = x.in<1>(), .y = y.out<1>(), .not_binary = not_binary.get()});
  EXPECT_EQ(*not_binary, 1);
  const Array ones = Array::of(DType::f32, {2}, {1, 1});
  Array tail(DType::boolean, {2});
  run_on_test_device(ToMask{.x = ones.in<1>(), .y = tail.out<1>(), .not_binary = not_binary.get()});
  EXPECT_EQ(*not_binary, 1);
}

}  // namespace
}  // namespace tessera
