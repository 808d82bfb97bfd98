#include <gtest/gtest.h>

#include "kernels/elementwise/add.h"
#include "kernels/elementwise/mul.h"
#include "kernels/elementwise/scale.h"
#include "tests/kernels/array.h"

namespace tessera {
namespace {

// `array` read with other strides.
In<4> strided(const Array& array, std::array<int64_t, 4> shape, std::array<int64_t, 4> strides) {
  In<4> view = array.in<4>();
  view.shape = shape;
  view.strides = strides;
  return view;
}

void check(const In<4>& a, const In<4>& b, DType dtype, const std::function<double(int64_t)>& value_a,
           const std::function<double(int64_t)>& value_b) {
  const auto& s = a.shape;
  Array sum(dtype, {s[0], s[1], s[2], s[3]}), product(dtype, {s[0], s[1], s[2], s[3]}, 3);
  run_on_test_device(Add{.a = a, .b = b, .y = sum.out<4>()});
  run_on_test_device(Mul{.a = a, .b = b, .y = product.out<4>()});
  for (int64_t i = 0; i < sum.numel(); ++i) {
    const double unit = rounding_unit(dtype) * 1.01, absolute = dtype == DType::f64 ? 0 : 1e-7;
    const double wanted_sum = value_a(i) + value_b(i), wanted_product = value_a(i) * value_b(i);
    ASSERT_NEAR(sum[i], wanted_sum, unit * std::fabs(wanted_sum) + absolute) << i;
    ASSERT_NEAR(product[i], wanted_product, unit * std::fabs(wanted_product) + absolute) << i;
  }
}

TEST(Arithmetic, MixedDtypes) {
  for (const DType a_type : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    for (const DType y_type : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
      const Array a = Array::random(a_type, {2, 3, 5, 7}, 1, -2, 2, 1), b = Array::random(DType::f32, {2, 3, 5, 7}, 2);
      check(
          a.in<4>(), b.in<4>(), y_type, [&](int64_t i) { return a[i]; }, [&](int64_t i) { return b[i]; });
    }
  }
}

TEST(Arithmetic, LongAndContiguous) {
  const Array a = Array::random(DType::f32, {1, 7, 3, 2500}, 1), b = Array::random(DType::bf16, {1, 7, 3, 2500}, 2);
  check(
      a.in<4>(), b.in<4>(), DType::f32, [&](int64_t i) { return a[i]; }, [&](int64_t i) { return b[i]; });
}

TEST(Arithmetic, Broadcast) {
  const Array a = Array::random(DType::f32, {2, 3, 5, 7}, 1);
  const Array row = Array::random(DType::bf16, {1, 1, 1, 7}, 2), column = Array::random(DType::f32, {2, 1, 5, 1}, 3);
  const auto value_a = [&](int64_t i) { return a[i]; };
  check(a.in<4>(), strided(row, {2, 3, 5, 7}, {0, 0, 0, 1}), DType::f32, value_a,
        [&](int64_t i) { return row[i % 7]; });
  check(a.in<4>(), strided(column, {2, 3, 5, 7}, {5, 0, 1, 0}), DType::f32, value_a,
        [&](int64_t i) { return column[i / 105 * 5 + i / 7 % 5]; });
  check(
      strided(column, {2, 3, 5, 7}, {0, 0, 0, 0}), a.in<4>(), DType::f32, [&](int64_t) { return column[0]; }, value_a);
}

TEST(Arithmetic, Transposed) {
  const Array a = Array::random(DType::f32, {1, 1, 40, 30}, 1), b = Array::random(DType::f64, {1, 1, 30, 40}, 2);
  check(
      strided(a, {1, 1, 30, 40}, {0, 0, 1, 30}), b.in<4>(), DType::f64,
      [&](int64_t i) { return a[i % 40 * 30 + i / 40]; }, [&](int64_t i) { return b[i]; });
}

TEST(Arithmetic, IntoAStridedPlaceInPlace) {
  Array whole = Array::random(DType::f32, {1, 2, 6, 8}, 1);
  const Array before = whole, b = Array::random(DType::f32, {1, 2, 6, 1}, 2);
  Out<4> column = whole.out<4>();  // element 3 of each row
  column.shape[3] = 1;
  column.data = static_cast<float*>(column.data) + 3;
  run_on_test_device(Add{.a = {column.data, column.dtype, column.shape, column.strides}, .b = b.in<4>(), .y = column});
  for (int64_t i = 0; i < whole.numel(); ++i) {
    EXPECT_FLOAT_EQ(whole[i], before[i] + (i % 8 == 3 ? b[i / 8] : 0)) << i;
  }
}

TEST(Arithmetic, NothingToDo) {
  const Array a(DType::f32, {2, 0, 3, 4});
  Array y = a;
  run_on_test_device(Add{.a = a.in<4>(), .b = a.in<4>(), .y = y.out<4>()});
  const Array b(DType::f32, {2, 1, 3, 0});
  Array z = b;
  run_on_test_device(Add{.a = b.in<4>(), .b = b.in<4>(), .y = z.out<4>()});
}

TEST(Scale, AnyDtypes) {
  const Array x = Array::random(DType::bf16, {5000}, 1);
  Array y(DType::f64, {5000}), z(DType::f32, {5000});
  run_on_test_device(Scale{.x = x.in<1>(), .factor = 1.0 / 3, .y = y.out<1>()});
  run_on_test_device(Scale{.x = x.in<1>(), .factor = 1.0 / 3, .y = z.out<1>()});
  for (int64_t i = 0; i < 5000; ++i) {
    EXPECT_NEAR(y[i], x[i] / 3, 1e-15);
    EXPECT_NEAR(z[i], x[i] / 3, 1e-7);
  }
}

}  // namespace
}  // namespace tessera
