#include "kernels/reduce/arg_max.h"

#include <gtest/gtest.h>

#include "tests/kernels/array.h"

namespace tessera {
namespace {

std::vector<double> arg_max(const Array& x, int64_t rows) {
  Array index(DType::i32, {rows});
  run_on_test_device(ArgMax{.x = x.in<2>(), .index = index.out<1>()});
  return index.values();
}

TEST(ArgMax, FirstOfEqualsAndNaNFirst) {
  const Array x = Array::of(DType::f32, {5, 3},
                            {1, 3, 3, -5, -4, -7, 2, NAN, NAN, -INFINITY, -INFINITY, -INFINITY, 0, 9, INFINITY});
  EXPECT_EQ(arg_max(x, 5), (std::vector<double>{1, 1, 1, 0, 2}));
}

TEST(ArgMax, LongRowsOfAnyDtype) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    Array x = Array::random(dtype, {3, 2500}, 1, -9, 0, 7);
    x.set(2499, 1);
    x.set(2500 + 1024, 1);
    x.set(5000 + 7, 1);
    EXPECT_EQ(arg_max(x, 3), (std::vector<double>{2499, 1024, 7})) << name_of(dtype);
  }
}

}  // namespace
}  // namespace tessera
