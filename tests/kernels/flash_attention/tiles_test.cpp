// Tiles: the numbers do not depend on their sizes, which the bucket sizes bound and `plan` tells.
#include <algorithm>

#include <gtest/gtest.h>

#include "kernels/flash_attention/flash_attention.h"
#include "tests/kernels/array.h"
#include "tests/kernels/flash_attention/attention_case.h"

namespace tessera {
namespace {

class FlashAttentionBuckets : public testing::TestWithParam<int64_t> {};

TEST_P(FlashAttentionBuckets, OfEverySizeAgree) {
  AttentionCase c{.N = 300, .M = 333, .D = 32};
  c.causal = true;
  c.q_bucket_size = GetParam();
  c.fill(6);
  const AttentionRule rule(c, DType::f32);
  for (const int64_t k : {1, 7, 16, 64, 512}) {
    c.k_bucket_size = k;
    rule.expect(c);
  }
}

INSTANTIATE_TEST_SUITE_P(QueryBucket, FlashAttentionBuckets, testing::Values(1, 7, 16, 64, 512),
                         testing::PrintToStringParamName());

TEST(FlashAttentionTiles, AgreeIn16Bit) {
  AttentionCase c{.N = 150, .M = 170, .D = 128};
  c.causal = true;
  c.fill(6, DType::bf16);
  const AttentionRule rule(c, DType::bf16);
  for (const int64_t q : {16, 48, 512}) {
    for (const int64_t k : {16, 48, 512}) {
      c.q_bucket_size = q, c.k_bucket_size = k, c.deterministic = q == k;
      rule.expect(c);
    }
  }
}

/// What a call will use on the test device.
template <class Kernel>
AttentionPlan plan_of(const Kernel& kernel) {
  return std::visit([&](auto device) { return kernel.plan(device); }, exec_of(test_device()));
}

FlashAttentionForward planned(DType dtype, int64_t N, int64_t M, int64_t D, AttentionOptions options) {
  return {.q = {nullptr, dtype, {2, N, 4, D}, {}},
          .k = {nullptr, dtype, {2, M, 4, D}, {}},
          .v = {nullptr, dtype, {2, M, 4, D}, {}},
          .options = options,
          .out = {nullptr, dtype, {2, N, 4, D}, {}},
          .lse = {nullptr, DType::f32, {2, 4, N}, {}}};
}
FlashAttentionBackward planned_backward(DType dtype, int64_t N, AttentionOptions options) {
  const In<4> x{nullptr, dtype, {2, N, 4, 64}, {}};
  const Out<4> dx{nullptr, dtype, {2, N, 4, 64}, {}};
  return {.dout = x,
          .q = x,
          .k = x,
          .v = x,
          .out = x,
          .lse = {nullptr, DType::f32, {2, 4, N}, {}},
          .options = options,
          .dq = dx,
          .dk = dx,
          .dv = dx};
}

// A GPU has no tiles smaller than 16.
TEST(FlashAttentionTiles, ObeyTheBounds) {
  const int64_t least = test_device().is_cpu() ? 1 : 16;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    for (const int64_t bound : {1, 7, 16, 64, 100, 512}) {
      AttentionOptions options{.scale = 1};
      options.q_bucket_size = bound;
      options.k_bucket_size = 2 * bound;
      for (const AttentionPlan& plan :
           {plan_of(planned(dtype, 1000, 2000, 64, options)), plan_of(planned_backward(dtype, 1000, options))}) {
        EXPECT_GE(plan.tile_q, std::min<int64_t>(bound, 16));
        EXPECT_LE(plan.tile_q, std::max(bound, least));
        EXPECT_GE(plan.tile_k, std::min<int64_t>(2 * bound, 16));
        EXPECT_LE(plan.tile_k, std::max(2 * bound, least));
        EXPECT_GE(plan.scratch_bytes, test_device().is_cpu() ? 1 : 0);
      }
      if (test_device().is_cpu() && dtype == DType::f32) {
        const AttentionPlan forward = plan_of(planned(dtype, 1000, 2000, 64, options));
        EXPECT_GE(forward.tile_q, std::min<int64_t>(bound, 64));
        EXPECT_GE(forward.tile_k, std::min<int64_t>(2 * bound, 64));
      }
    }
  }
}

TEST(FlashAttentionTiles, AreLargeWithLargeBounds) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const AttentionOptions options{.scale = 1};
    for (const AttentionPlan& plan :
         {plan_of(planned(dtype, 1000, 2000, 64, options)), plan_of(planned_backward(dtype, 1000, options))}) {
      EXPECT_GE(plan.tile_q, 64);
      EXPECT_GE(plan.tile_k, 32);
    }
  }
}

TEST(FlashAttentionTiles, NeedScratchThatDoesNotGrowWithTheSquare) {
  const AttentionOptions options{.scale = 1};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto forward = [&](int64_t N) { return plan_of(planned(dtype, N, N, 64, options)).scratch_bytes; };
    const auto backward = [&](int64_t N) { return plan_of(planned_backward(dtype, N, options)).scratch_bytes; };
    EXPECT_LE(forward(65536), 16 * forward(4096));
    EXPECT_LE(backward(65536), 16 * backward(4096));
    if (test_device().is_cpu()) {
      EXPECT_EQ(forward(65536), forward(4096));
    }
    EXPECT_LT(backward(65536), int64_t{160} << 20);
  }
}

}  // namespace
}  // namespace tessera
