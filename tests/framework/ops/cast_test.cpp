#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

TEST(Cast, ThereAndBack) {
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(uniform({3, 5}, 1).to(DType::f32));
  const Variable y = ops::cast(x, DType::bf16);
  EXPECT_EQ(y.dtype(), DType::bf16);
  EXPECT_EQ(doubles(y.value()), doubles(x.value().to(DType::bf16)));
  const Tensor dy = uniform({3, 5}, 2).to(DType::bf16);
  backward(y, dy);
  EXPECT_EQ(x.gradient().dtype(), DType::f32);
  EXPECT_EQ(doubles(x.gradient()), doubles(dy));
}

TEST(Cast, ToTheSameDtypeIsTheVariableItself) {
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(Tensor::zeros({2}, DType::f32));
  EXPECT_TRUE(ops::cast(x, DType::f32).value().shares_memory_with(x.value()));
  EXPECT_EQ(pass.graph()->size(), 0u);
  expect_error([&] { ops::cast(x, DType::i32); }, "cast: float32 to int32 has no gradient");
}

}  // namespace
}  // namespace tessera
