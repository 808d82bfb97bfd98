// Attention split over several devices against the same on one: equal to the bit, forward and backward, for uneven
// numbers of samples × heads and every option that counts samples or heads.
#include <cstdlib>

#include <gtest/gtest.h>

#include "framework/ops.h"
#include "kernels/common/cuda/runtime.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

// Before anything asks for a device: the emulated machine has three.
const int three_devices = setenv("TESSERA_SIMT_DEVICES", "3", 0);

using ops::FlashAttentionOptions;

struct Problem {
  int64_t batch, heads, kv_heads;
};

class ParallelAttention : public testing::TestWithParam<Problem> {
 protected:
  void SetUp() override {
    if (cuda_device_count() < 2) GTEST_SKIP() << "this machine has fewer than two GPUs";
  }

  Tensor make(const Shape& shape, uint64_t key, DType dtype) const { return uniform(shape, key).to(dtype).to(home_); }

  OpResult run(const FlashAttentionOptions& options, DType dtype, std::span<const Device> devices) const {
    const auto [batch, heads, kv_heads] = GetParam();
    const std::vector<Tensor> inputs{make({batch, 19, heads, 16}, 1, dtype), make({batch, 37, kv_heads, 16}, 2, dtype),
                                     make({batch, 37, kv_heads, 16}, 3, dtype)};
    const Op op = [&](std::span<const Variable> x) { return ops::flash_attention(x[0], x[1], x[2], options, devices); };
    return run_op(op, inputs, {.iteration = 3, .seed = 5, .first_sample = 2});
  }

  void expect_equal(const FlashAttentionOptions& options, DType dtype) const {
    const OpResult alone = run(options, dtype, {});
    std::vector<Device> devices{Device::cuda(0), Device::cuda(1)};
    for (; devices.size() <= static_cast<size_t>(cuda_device_count()); devices.push_back(Device::cuda(2))) {
      SCOPED_TRACE(devices.size());
      const OpResult split = run(options, dtype, devices);
      EXPECT_EQ(split.y.device(), home_);
      EXPECT_EQ(doubles(split.y), doubles(alone.y));
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(split.gradients[i].device(), home_);
        EXPECT_EQ(doubles(split.gradients[i]), doubles(alone.gradients[i])) << "input " << i;
      }
      if (devices.size() == 3) break;
    }
  }

  const Device home_{Device::Kind::cuda, 0};
};

TEST_P(ParallelAttention, EqualsOneDevice) {
  for (const DType dtype : {DType::f32, DType::bf16}) expect_equal({.causal = true}, dtype);
}

TEST_P(ParallelAttention, SplitsWhatCountsSamplesAndHeads) {
  const auto [batch, heads, kv_heads] = GetParam();
  std::vector<float> slopes;
  for (int64_t h = 0; h < heads; ++h) slopes.push_back(0.5f / static_cast<float>(h + 1));
  std::vector<uint8_t> bits;
  for (int64_t i = 0; i < batch * heads * 37; ++i) bits.push_back(i * 7919 % 11 != 0);
  std::vector<int32_t> q_segments, k_segments;
  for (int64_t i = 0; i < batch * 19; ++i) q_segments.push_back(static_cast<int32_t>(i % 19 / (5 + i / 19)));
  for (int64_t i = 0; i < batch * 37; ++i) k_segments.push_back(static_cast<int32_t>(i % 37 / (9 + i / 37)));
  expect_equal({.softcap = 3,
                .alibi_slopes = Tensor::from(slopes, {heads}).to(home_),
                .mask = Tensor::from(bits, {batch, heads, 1, 37}).to(home_),
                .q_segments = Tensor::from(q_segments, {batch, 19}).to(home_),
                .k_segments = Tensor::from(k_segments, {batch, 37}).to(home_),
                .dropout = 0.2},
               DType::f32);
}

INSTANTIATE_TEST_SUITE_P(Uneven, ParallelAttention,
                         testing::Values(Problem{1, 5, 5}, Problem{3, 3, 3}, Problem{2, 6, 2}, Problem{4, 2, 1},
                                         Problem{1, 2, 2}));

TEST(ToDevice, BringsTheGradientBack) {
  if (cuda_device_count() < 2) GTEST_SKIP() << "this machine has fewer than two GPUs";
  const Device home = Device::cuda(0), other = Device::cuda(1);
  const Tensor x = uniform({3, 4}, 1).to(home);
  const OpResult there = run_op(
      [&](std::span<const Variable> v) {
        const Variable moved = ops::to_device(v[0], other);
        EXPECT_EQ(moved.device(), other);
        return ops::to_device(ops::mul(moved, moved), home);
      },
      std::vector{x}, {});
  const OpResult here = run_op([](std::span<const Variable> v) { return ops::mul(v[0], v[0]); }, std::vector{x}, {});
  EXPECT_EQ(doubles(there.y), doubles(here.y));
  EXPECT_EQ(doubles(there.gradients[0]), doubles(here.gradients[0]));
#ifdef TESSERA_SIMT
  EXPECT_TRUE(simt::reaches_peer(0, 1) && simt::reaches_peer(1, 0));
#endif
}

}  // namespace
}  // namespace tessera
