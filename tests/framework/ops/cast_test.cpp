#include <gtest/gtest.h>

#include "framework/ops.h"
#include "kernels/common/half.h"
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

/// A number as `dtype` holds it; float64 goes to 16 bit through float32.
double held(double value, DType dtype) {
  switch (dtype) {
    case DType::f32: return static_cast<float>(value);
    case DType::bf16: return static_cast<float>(BFloat16(static_cast<float>(value)));
    case DType::f16: return static_cast<float>(Half(static_cast<float>(value)));
    default: return value;
  }
}

TEST(Cast, EveryPairOfDtypesAndItsGradient) {
  constexpr DType kDtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16};
  for (const DType from : kDtypes) {
    for (const DType to : kDtypes) {
      SCOPED_TRACE(testing::Message() << name_of(from) << " to " << name_of(to));
      const Op op = [to](std::span<const Variable> v) { return ops::cast(v[0], to); };
      const Tensor dy = uniform({3, 5}, 2).to(to).to(test_device());
      const Tensor x = uniform({3, 5}, 1).to(from).to(test_device());
      std::vector<double> y = doubles(x), dx = doubles(dy);
      for (double& value : y) value = held(value, to);
      for (double& value : dx) value = held(value, from);
      for (const Tensor& input : {x, turned(x), padded_rows(x)}) {
        const OpResult result = run_op(op, std::vector{input}, {}, dy);
        EXPECT_EQ(result.y.dtype(), to);
        EXPECT_EQ(doubles(result.y), y);
        EXPECT_EQ(result.gradients[0].dtype(), from);
        EXPECT_EQ(doubles(result.gradients[0]), dx);
      }
    }
  }
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
