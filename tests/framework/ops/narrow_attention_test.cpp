// The op with a core in 16 bit: what comes out has the dtype that came in.
#include "tests/framework/ops/attention_op.h"
#ifdef TESSERA_SIMT
#include "kernels/simt/runtime.h"
#endif

namespace tessera {
namespace {

class NarrowCore : public FlashAttentionOp, public testing::WithParamInterface<std::tuple<DType, DType>> {};

TEST_P(NarrowCore, CloseToTheWideOneInTheDtypeThatCame) {
  const auto [wide, core] = GetParam();
  const int roundings = 3;  // of the inputs, of the weights and of the result
  std::vector<Tensor> inputs;
  for (const Tensor& input : inputs_) inputs.push_back(input.to(wide));
  const OpResult exact = run_op(attention({.causal = true}), inputs_, {});
  const OpResult result = run_op(attention({.causal = true, .compute_dtype = core}), inputs, {});
  EXPECT_EQ(result.y.dtype(), wide);
  EXPECT_GT(distance(doubles(result.y), doubles(exact.y)), 1e-6) << "not computed in 16 bit";
  EXPECT_LE(distance(doubles(result.y), doubles(exact.y)), allowed_error(exact.y, core, 2, roundings));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(result.gradients[i].dtype(), wide);
    EXPECT_LE(distance(doubles(result.gradients[i]), doubles(exact.gradients[i])),
              allowed_error(exact.gradients[i], core, 3, roundings));
  }
}

// A float16 core computes with gradients multiplied by a power of two: tiny and huge ones keep their digits.
TEST_P(NarrowCore, GradientsOfAnyMagnitude) {
  const auto [wide, core] = GetParam();
  std::vector<Tensor> inputs;
  for (const Tensor& input : inputs_) inputs.push_back(input.to(wide));
  const Tensor dy = uniform(q_.shape(), 6).to(wide);
  const OpResult plain = run_op(attention({.compute_dtype = core}), inputs, {}, dy);
  for (const double magnitude : {0x1p-60, 0x1p-20, 0x1p+30}) {
    const Tensor scaled = ops::scale(dy, magnitude).value();
    const OpResult result = run_op(attention({.compute_dtype = core}), inputs, {}, scaled);
    for (int i = 0; i < 3; ++i) {
      std::vector<double> expected = doubles(plain.gradients[i]);
      for (double& value : expected) value *= magnitude;
      EXPECT_LE(distance(doubles(result.gradients[i]), expected), 1e-12) << magnitude;
    }
  }
  const OpResult zero = run_op(attention({.compute_dtype = core}), inputs, {}, Tensor::zeros(q_.shape(), wide));
  for (const Tensor& gradient : zero.gradients) EXPECT_EQ(distance(doubles(gradient), doubles(gradient)), 0);
  const OpResult infinite =
      run_op(attention({.compute_dtype = core}), inputs, {}, Tensor::full(q_.shape(), INFINITY, wide));
  for (const double value : doubles(infinite.gradients[2])) EXPECT_FALSE(std::isfinite(value));
}

#ifdef TESSERA_SIMT
// The power of two is found and used on the device.
TEST(NarrowCoreOnDevice, TheHostWaitsForNothing) {
  const Device device = test_device();
  if (device.is_cpu()) GTEST_SKIP() << "the CPU is the host";
  const Tensor x = uniform({1, 5, 2, 8}, 1).to(DType::f32).to(device);
  const auto step = [&] {
    const Pass pass = Pass::recording({});
    const Variable q = pass.leaf(x);
    backward(ops::flash_attention(q, q, q, {.compute_dtype = DType::f16}), x);
  };
  step();  // memory is found
  const int64_t before = simt::host_waits();
  step();
  EXPECT_EQ(simt::host_waits(), before);
}
#endif

INSTANTIATE_TEST_SUITE_P(Dtypes, NarrowCore,
                         testing::Combine(testing::Values(DType::f32, DType::f64),
                                          testing::Values(DType::bf16, DType::f16)));

}  // namespace
}  // namespace tessera
