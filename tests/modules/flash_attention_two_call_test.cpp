// FlashAttentionTwo: what one call may add, and what it refuses.
#include <gtest/gtest.h>

#include "modules/flash_attention_two.h"
#include "tests/framework/ops/op_check.h"
#include "tests/modules/drawn_layer.h"
#include "tests/modules/plain_layer.h"

namespace tessera {
namespace {

using Options = FlashAttentionTwo::Options;

class FlashAttentionTwoCall : public testing::Test {
 protected:
  const FlashAttentionTwo layer_ = make({.heads = 4, .dim_head = 3, .kv_heads = 2});
  const Tensor x_ = uniform({2, 7, kDim}, 1, -2, 2), context_ = uniform({2, 5, kDim}, 2, -2, 2);

  std::vector<double> run(const FlashAttentionTwo::Call& call) const { return doubles(layer_(x_, call).value()); }
};

TEST_F(FlashAttentionTwoCall, Context) {
  EXPECT_LE(distance(run({.context = context_}), plain_layer(layer_, x_, context_, {})), 1e-12);
  const GradcheckResult result = gradcheck([&](std::span<const Variable> v) { return layer_(v[0], {.context = v[1]}); },
                                           std::vector{x_, context_});
  EXPECT_TRUE(result.ok) << result.message;
  EXPECT_EQ(run({.context = x_}), run({}));
}

TEST_F(FlashAttentionTwoCall, Mask) {
  const Tensor mask = Tensor::full({2, 7}, 1, DType::boolean);
  for (const int64_t hidden : {0, 3, 9}) mask.data<bool>()[hidden] = false;
  const PlainAttention plain{.sees = [&](const ScorePlace& at) { return mask.data<bool>()[at.b * 7 + at.j]; }};
  EXPECT_LE(distance(run({.mask = mask}), plain_layer(layer_, x_, x_, plain)), 1e-12);
  EXPECT_EQ(run({.mask = Tensor::full({2, 7}, 1, DType::f32)}), run({}));
  expect_error([&] { run({.mask = Tensor::full({2, 7}, 0.5, DType::f32)}); }, "values other than 0 and 1");
  EXPECT_LE(
      distance(run({.context = context_, .mask = mask.slice(1, 2, 7)}),
               plain_layer(layer_, x_, context_,
                           {.sees = [&](const ScorePlace& at) { return mask.data<bool>()[at.b * 7 + at.j + 2]; }})),
      1e-12);
}

TEST_F(FlashAttentionTwoCall, Segments) {
  const std::vector<int32_t> ids{0, 0, 0, 1, 1, 2, 2, 4, 4, 4, 4, 4, 5, 5};
  EXPECT_LE(distance(run({.segments = Tensor::from(ids, {2, 7})}),
                     plain_layer(
                         layer_, x_, x_,
                         {.sees = [&](const ScorePlace& at) { return ids[at.b * 7 + at.i] == ids[at.b * 7 + at.j]; }})),
            1e-12);
}

TEST_F(FlashAttentionTwoCall, Residual) {
  std::vector<double> expected = run({});
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += doubles(x_)[i];
  EXPECT_LE(distance(run({.residual = x_}), expected), 1e-14);
}

TEST_F(FlashAttentionTwoCall, BucketsOfOneCall) {
  const std::vector<double> usual = run({});
  for (const int64_t bucket : {1, 2, 3, 7, 4096}) {
    EXPECT_LE(distance(run({.q_bucket_size = bucket, .k_bucket_size = bucket}), usual), 1e-14);
  }
  expect_error([&] { run({.q_bucket_size = -1}); }, "bucket sizes must be at least 1, not -1 and 1024");
  expect_error([&] { run({.k_bucket_size = -1}); }, "bucket sizes must be at least 1, not 512 and -1");
  const auto plan = [&](const FlashAttentionTwo::Call& call) { return layer_.plan(2, 700, 700, DType::f64, {}, call); };
  EXPECT_EQ(plan({.q_bucket_size = 5}).tile_q, 5);
  EXPECT_EQ(plan({.q_bucket_size = 5}).tile_k, plan({}).tile_k);
  EXPECT_EQ(plan({.k_bucket_size = 3}).tile_k, 3);
  EXPECT_EQ(plan({.k_bucket_size = 3}).tile_q, plan({}).tile_q);
}

// Positions are those of one sequence: a context is another one, even where it is equal.
TEST_F(FlashAttentionTwoCall, RotaryDoesNotTurnAContext) {
  const Options options{.heads = 2, .dim_head = 6}, rotary{.heads = 2, .dim_head = 6, .rotary = true};
  const auto with_context = [&](const Options& o) { return doubles(make(o)(x_, {.context = context_}).value()); };
  EXPECT_EQ(with_context(rotary), with_context(options));
  EXPECT_GT(distance(doubles(make(rotary)(x_, {.context = x_}).value()), doubles(make(rotary)(x_).value())), 1e-3);
}

TEST_F(FlashAttentionTwoCall, SaysWhatDoesNotFit) {
  const auto call = [&](const Variable& x, const FlashAttentionTwo::Call& how = {}) {
    return [=, this] { layer_(x, how); };
  };
  expect_error(call(uniform({2, 7, 11}, 1)), "FlashAttentionTwo: x must be [batch, n, 12], not [2, 7, 11]");
  expect_error(call(uniform({7, kDim}, 1)), "FlashAttentionTwo: x must be [batch, n, 12], not [7, 12]");
  expect_error(call(x_, {.context = uniform({2, 5, 11}, 1)}), "context must be [batch, m, 12], not [2, 5, 11]");
  expect_error(call(x_, {.context = uniform({3, 5, kDim}, 1)}), "q has a batch of 2, k of 3");
  expect_error(call(x_, {.mask = Tensor::zeros({2, 5}, DType::boolean)}), "[batch, keys] = [2, 7], not [2, 5]");
}

}  // namespace
}  // namespace tessera
