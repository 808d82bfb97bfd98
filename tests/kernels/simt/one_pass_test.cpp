// What walks over memory once is one kernel: whatever else belongs to it rides along. Counted in the SIMT flavour.
#ifdef TESSERA_SIMT
#include <gtest/gtest.h>

#include "kernels/adamw/adamw.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/simt/stream.h"
#include "tests/kernels/array.h"
#include "tests/support/devices.h"

namespace tessera {
namespace {

class OnePass : public testing::Test {
 protected:
  void SetUp() override {
    if (test_device().is_cpu()) GTEST_SKIP() << "of the GPU";
  }

  /// How much work the device is given by a call.
  template <class Op>
  int64_t pieces_of_work(const Op& op) const {
    const Cuda cuda = std::get<Cuda>(exec_of(test_device()));
    auto* const stream = static_cast<cudaStream_t>(cuda.stream);
    const int64_t before = simt::moment_of(stream).count;
    op(cuda);
    const int64_t after = simt::moment_of(stream).count;
    simt::finish_all_streams();
    return after - before;
  }
};

TEST_F(OnePass, AStepOfAdamWWithItsMirror) {
  const Array gradient = Array::random(DType::f32, {5000}, 1);
  Array weight(DType::f32, {5000}), moment1 = weight, moment2 = weight, mirror(DType::bf16, {5000});
  Managed<StepState> state{StepState{}};
  const AdamWStep step{.weight = weight.out<1>(),
                       .moment1 = moment1.out<1>(),
                       .moment2 = moment2.out<1>(),
                       .gradient = gradient.in<1>(),
                       .mirror = mirror.out<1>(),
                       .state = state.get(),
                       .weight_decay = 0.1,
                       .beta1 = 0.9,
                       .beta2 = 0.99,
                       .epsilon = 1e-8};
  EXPECT_EQ(pieces_of_work(step), 1);
}

// 50,304 logits, the vocabulary of GPT-2 rounded up.
TEST_F(OnePass, ALossAndItsGradient) {
  Array logits = Array::random(DType::bf16, {3, 50304}, 1);
  const Array targets = Array::of(DType::i32, {3}, {1, 2, 50303});
  Array loss(DType::f32, {3}), lse(DType::f32, {3});
  Managed<int32_t> status;
  const CrossEntropyForward forward{.logits = logits.in<2>(),
                                    .targets = targets.in<1>(),
                                    .ignore_index = -1,
                                    .loss = loss.out<1>(),
                                    .lse = lse.out<1>(),
                                    .status = status.get(),
                                    .dlogits = logits.out<2>()};
  EXPECT_EQ(pieces_of_work(forward), 1);
}

TEST_F(OnePass, ANormAndTheSumBeforeIt) {
  const Array x = Array::random(DType::bf16, {9, 384}, 1), residual = Array::random(DType::f32, {9, 384}, 2);
  Array sum(DType::f32, {9, 384}), y(DType::bf16, {9, 384}), mean(DType::f32, {9}), rstd = mean;
  const LayerNormForward forward{.x = x.in<2>(),
                                 .residual = residual.in<2>(),
                                 .weight = {},
                                 .bias = {},
                                 .epsilon = 1e-5,
                                 .sum = sum.out<2>(),
                                 .y = y.out<2>(),
                                 .mean = mean.out<1>(),
                                 .rstd = rstd.out<1>()};
  EXPECT_EQ(pieces_of_work(forward), 1);
}

}  // namespace
}  // namespace tessera
#endif
