// The op: shapes, dtypes, masks and gradients as a graph sees them. Tiles and all combinations are the kernel's tests.
#include "tests/framework/ops/attention_op.h"

namespace tessera {
namespace {

TEST_F(FlashAttentionOp, GroupsOfHeadsAndTwoLengths) { check({}, {}); }

TEST_F(FlashAttentionOp, Causal) {
  check({.causal = true}, {.sees = [](const ScorePlace& at) { return at.j <= at.p; }});
}

TEST_F(FlashAttentionOp, Window) {
  check({.window = 2}, {.sees = [](const ScorePlace& at) { return std::abs(at.j - at.p) < 2; }});
  check({.causal = true, .window = 3}, {.sees = [](const ScorePlace& at) { return at.j <= at.p && at.p - at.j < 3; }});
}

TEST_F(FlashAttentionOp, ScaleSoftcapAndAlibi) {
  const std::vector<float> slopes{0.5f, 0.25f, 0.125f, 1};
  check({.scale = 0.3, .softcap = 1.5, .alibi_slopes = Tensor::from(slopes, {4})},
        {.score =
             [=](const ScorePlace& at, double s) {
               return 1.5 * std::tanh(s / 1.5) - slopes[at.h] * static_cast<double>(std::abs(at.p - at.j));
             },
         .scale = 0.3});
}

TEST_F(FlashAttentionOp, Segments) {
  const std::vector<int32_t> of_queries{0, 0, 1, 1, 2, 5, 5, 5, 5, 6},
      of_keys{0, 0, 0, 1, 1, 2, 2, 5, 5, 5, 5, 6, 6, 6};
  check({.q_segments = Tensor::from(of_queries, {2, 5}), .k_segments = Tensor::from(of_keys, {2, 7})},
        {.sees = [&](const ScorePlace& at) { return of_queries[at.b * 5 + at.i] == of_keys[at.b * 7 + at.j]; }});
}

// ── Masks ──

Tensor boolean_mask(const Shape& shape, uint64_t key) {
  Tensor mask = Tensor::empty(shape, DType::boolean);
  const std::vector<double> drawn = doubles(uniform(shape, key));
  for (size_t i = 0; i < drawn.size(); ++i) mask.data<bool>()[i] = drawn[i] > -0.4;
  return mask;
}

TEST_F(FlashAttentionOp, MasksOfEveryForm) {
  for (const Shape& shape : {Shape{2, 7}, Shape{2, 1, 1, 7}, Shape{1, 1, 5, 7}, Shape{2, 4, 5, 7}, Shape{1, 4, 5, 1}}) {
    SCOPED_TRACE(to_string(shape));
    const Tensor mask = boolean_mask(shape, 4);
    const Tensor full = (mask.rank() == 2 ? mask.view({2, 1, 1, 7}) : mask).expand({2, 4, 5, 7}).contiguous_copy();
    check({.mask = mask},
          {.sees = [&](const ScorePlace& at) { return full.data<bool>()[((at.b * 4 + at.h) * 5 + at.i) * 7 + at.j]; }});
  }
}

TEST_F(FlashAttentionOp, ANumericMaskOfZerosAndOnesIsTaken) {
  const Tensor mask = boolean_mask({2, 7}, 4);
  const std::vector<double> expected = doubles(ops::flash_attention(q_, k_, v_, {.mask = mask}).value());
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i32, DType::i64, DType::u8}) {
    const Tensor numeric = Tensor::empty(mask.shape(), dtype);
    numeric.copy_from(mask);
    EXPECT_EQ(doubles(ops::flash_attention(q_, k_, v_, {.mask = numeric}).value()), expected) << name_of(dtype);
  }
  const Tensor x = uniform({1, 10, 8, 64}, 5);
  EXPECT_EQ(doubles(ops::flash_attention(x, x, x, {.mask = Tensor::full({1, 10}, 1, DType::f32)}).value()),
            doubles(ops::flash_attention(x, x, x).value()));
}

TEST_F(FlashAttentionOp, OtherMasksAreRefused) {
  const auto with = [this](const Tensor& mask) { ops::flash_attention(q_, k_, v_, {.mask = mask}); };
  expect_error(
      [&] {
        with(Tensor::full({2, 7}, 0.5, DType::f32));
      },
      "flash_attention: the float32 mask holds values other than 0 and 1");
  expect_error([&] { with(Tensor::full({2, 7}, 2, DType::i32)); }, "the int32 mask holds values other than 0 and 1");
  expect_error([&] { with(Tensor::full({2, 7}, NAN, DType::f32)); }, "values other than 0 and 1");
  expect_error(
      [&] {
        with(Tensor::zeros({2, 5}, DType::boolean));
      },
      "a mask of two axes is a key mask [batch, keys] = [2, 7], not [2, 5]");
  expect_error(
      [&] {
        with(Tensor::zeros({2, 2, 5, 7}, DType::boolean));
      },
      "the mask [2, 2, 5, 7] does not fit [2, 4, 5, 7]; it needs four axes [batch, heads, queries, keys], each 1 or "
      "full");
  expect_error(
      [&] {
        with(Tensor::zeros({2, 5, 7}, DType::boolean));
      },
      "the mask [2, 5, 7] does not fit [2, 4, 5, 7]; it needs four axes [batch, heads, queries, keys], each 1 or full");
}

TEST_F(FlashAttentionOp, RowsThatSeeNothingGiveZeroAndGetNoGradient) {
  const Tensor mask = boolean_mask({2, 1, 5, 7}, 4);
  for (int64_t j = 0; j < 7; ++j) mask.data<bool>()[2 * 7 + j] = false;  // query 2 of sample 0
  for (int64_t j = 0; j < 35; ++j) mask.data<bool>()[35 + j] = false;    // all of sample 1
  const OpResult result = run_op(attention({.mask = mask}), inputs_, {});
  const std::vector<double> y = doubles(result.y);
  for (int64_t at = 0; at < 12; ++at) EXPECT_EQ(y[2 * 12 + at], 0);
  for (size_t at = 60; at < 120; ++at) EXPECT_EQ(y[at], 0);
  for (const Tensor& gradient : result.gradients) {
    for (const double value : doubles(gradient.slice(0, 1, 2))) EXPECT_EQ(value, 0);
  }
  for (const double value : doubles(result.gradients[0].slice(1, 2, 3))) EXPECT_EQ(value, 0);
  check({.mask = mask},
        {.sees = [&](const ScorePlace& at) { return mask.data<bool>()[(at.b * 5 + at.i) * 7 + at.j]; }});
}

TEST_F(FlashAttentionOp, NanBehindTheMaskNeverLeaks) {
  const Tensor mask = Tensor::full({2, 7}, 1, DType::boolean);
  mask.slice(1, 4, 7).copy_from(Tensor::zeros({2, 3}, DType::boolean));
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    std::vector<Tensor> clean, dirty;
    for (const Tensor& input : inputs_) {
      clean.push_back(input.to(dtype));
      dirty.push_back(input.to(dtype).contiguous_copy());
    }
    for (int i : {1, 2}) {
      dirty[i].slice(1, 4, 7).copy_from(Tensor::full({2, 3, 2, 3}, NAN, dtype));
    }
    const OpResult expected = run_op(attention({.mask = mask}), clean, {});
    const OpResult result = run_op(attention({.mask = mask}), dirty, {});
    const double tolerance = dtype == DType::f64 ? 1e-14 : dtype == DType::f32 ? 1e-6 : 8e-3;
    EXPECT_LE(distance(doubles(result.y), doubles(expected.y)), tolerance);
    for (int i = 0; i < 3; ++i) {
      EXPECT_LE(distance(doubles(result.gradients[i]), doubles(expected.gradients[i])), tolerance);
    }
  }
}

// ── Randomness ──

TEST_F(FlashAttentionOp, DropoutIsADifferentiableFunctionOfThePass) {
  const FlashAttentionOptions options{.dropout = 0.4, .site = {.hash = 7}};
  const GradcheckResult result = gradcheck(attention(options), inputs_, {.pass = {.iteration = 2, .seed = 9}});
  EXPECT_TRUE(result.ok) << result.message;
  const auto y = [&](const Pass& pass, const FlashAttentionOptions& how) {
    return doubles(ops::flash_attention(pass.input(q_), pass.input(k_), pass.input(v_), how).value());
  };
  const std::vector<double> once = y(Pass::recording({.iteration = 2, .seed = 9}), options);
  EXPECT_EQ(y(Pass::recording({.iteration = 2, .seed = 9}), options), once);
  EXPECT_NE(y(Pass::recording({.iteration = 3, .seed = 9}), options), once);
  EXPECT_NE(y(Pass::recording({.iteration = 2, .seed = 8}), options), once);
  EXPECT_EQ(y(Pass::inference(), options), y(Pass::inference(), {}));
}

TEST_F(FlashAttentionOp, DropoutDoesNotDependOnHowTheBatchIsSplit) {
  const FlashAttentionOptions options{.dropout = 0.4, .site = {.hash = 7}};
  const OpResult whole = run_op(attention(options), inputs_, {.seed = 9});
  std::vector<Tensor> second;
  for (const Tensor& input : inputs_) second.push_back(input.slice(0, 1, 2));
  const OpResult part = run_op(attention(options), second, {.seed = 9, .first_sample = 1}, whole.dy.slice(0, 1, 2));
  EXPECT_LE(distance(doubles(part.y), doubles(whole.y.slice(0, 1, 2))), 1e-14);
  for (int i = 0; i < 3; ++i) {
    EXPECT_LE(distance(doubles(part.gradients[i]), doubles(whole.gradients[i].slice(0, 1, 2))), 1e-13);
  }
}

// ── The rest ──

// Heads cut from one projection get their gradients in one piece: the projection's backward copies nothing.
TEST_F(FlashAttentionOp, GradientsOfOneProjectionComeAsOneTensor) {
  for (const bool narrow : {false, true}) {
    const Pass pass = Pass::recording({});
    Tensor arrived;
    const Variable joint = record(
        "probe", uniform({2, 5, 8 * 3}, 4).to(DType::f32), [&](const Tensor& dy, GradientSlot) { arrived = dy; },
        pass.leaf(Tensor::zeros({1}, DType::f32)));
    const int64_t sizes[] = {6, 6, 12};
    const std::vector<Variable> kvq = ops::split(joint, sizes);
    const auto heads = [](const Variable& x, int64_t count) { return ops::reshape(x, {2, 5, count, 3}); };
    FlashAttentionOptions options;
    if (narrow) options.compute_dtype = DType::bf16;
    const Variable y = ops::flash_attention(heads(kvq[2], 4), heads(kvq[0], 2), heads(kvq[1], 2), options);
    std::vector<Tensor> gradients;
    pass.graph()->observe_backward([&](const Graph::Node& node) {
      if (std::string(node.name) != "flash_attention") return;
      for (const SlotPtr& input : node.inputs) gradients.push_back(input->gradient);
    });
    backward(y, uniform(y.shape(), 5).to(DType::f32));
    ASSERT_EQ(gradients.size(), 3u);
    EXPECT_TRUE(arrived.shares_memory_with(gradients[0]));
    EXPECT_TRUE(arrived.contiguous());
  }
}

// Parts of one tensor that overlap, or that belong to different rows, get gradients of their own.
TEST_F(FlashAttentionOp, PartsOfOneTensorInOtherArrangements) {
  const auto copied = [](const Variable& x) { return ops::scale(x, 1); };
  const auto expect_as_of_copies = [&](const Shape& shape, auto cut) {
    const Op in_place = [=](std::span<const Variable> v) {
      const auto [q, k, v_] = cut(v[0]);
      return ops::flash_attention(q, k, v_);
    };
    const Op of_copies = [=](std::span<const Variable> v) {
      const auto [q, k, v_] = cut(v[0]);
      return ops::flash_attention(copied(q), copied(k), copied(v_));
    };
    const std::vector<Tensor> inputs{uniform(shape, 8, -2, 2).to(test_device())};
    const OpResult found = run_op(in_place, inputs, {}), expected = run_op(of_copies, inputs, {});
    EXPECT_LE(distance(doubles(found.y), doubles(expected.y)), 1e-14);
    EXPECT_LE(distance(doubles(found.gradients[0]), doubles(expected.gradients[0])), 1e-14);
  };
  using Parts = std::array<Variable, 3>;
  const auto heads = [](const Variable& x, int64_t begin, int64_t count) {
    return ops::slice(x, 2, begin, begin + count);
  };
  const Shape wide{2, 5, 6, 3};
  expect_as_of_copies(wide, [=](const Variable& x) { return Parts{heads(x, 0, 2), heads(x, 0, 2), heads(x, 0, 2)}; });
  expect_as_of_copies(wide, [=](const Variable& x) { return Parts{heads(x, 0, 2), heads(x, 1, 2), heads(x, 2, 2)}; });
  expect_as_of_copies(wide, [=](const Variable& x) { return Parts{heads(x, 0, 4), heads(x, 4, 1), heads(x, 4, 1)}; });
  expect_as_of_copies(wide, [=](const Variable& x) {
    const Variable first = ops::slice(x, 0, 0, 1), second = ops::slice(x, 0, 1, 2);
    return Parts{heads(first, 0, 2), heads(second, 2, 2), heads(second, 4, 2)};
  });
}

TEST_F(FlashAttentionOp, PlanObeysTheBounds) {
  for (const int64_t bound : {1, 7, 64, 512}) {
    const AttentionPlan plan = ops::flash_attention_plan({2, 2000, 4, 64}, {2, 3000, 2, 64}, DType::f32, {},
                                                         {.q_bucket_size = bound, .k_bucket_size = 2 * bound});
    EXPECT_GE(plan.tile_q, 1);
    EXPECT_LE(plan.tile_q, bound);
    EXPECT_LE(plan.tile_k, 2 * bound);
    EXPECT_GT(plan.scratch_bytes, 0);
    EXPECT_LT(plan.scratch_bytes, 8 << 20);
  }
}

TEST_F(FlashAttentionOp, SaysWhatDoesNotFit) {
  const auto zeros = [](const Shape& shape, DType dtype = DType::f64) { return Variable(Tensor::zeros(shape, dtype)); };
  const auto call = [&](const Variable& q, const Variable& k, const Variable& v, const FlashAttentionOptions& o = {}) {
    return [=] { ops::flash_attention(q, k, v, o); };
  };
  expect_error(call(zeros({2, 5, 4}), k_, v_), "q must be [B, N, H, D], k and v [B, M, KvH, D]");
  expect_error(call(q_, k_, zeros({2, 6, 2, 3})), "they are [2, 5, 4, 3], [2, 7, 2, 3] and [2, 6, 2, 3]");
  expect_error(call(q_, zeros({3, 7, 2, 3}), zeros({3, 7, 2, 3})), "q has a batch of 2, k of 3");
  expect_error(call(q_, zeros({2, 7, 2, 4}), zeros({2, 7, 2, 4})), "q has head size 3, k has 4");
  expect_error(call(zeros({1, 2, 1, 257}), zeros({1, 2, 1, 257}), zeros({1, 2, 1, 257})), "head size 257");
  expect_error(call(q_, zeros({2, 7, 3, 3}), zeros({2, 7, 3, 3})), "4 query heads cannot share 3 key heads");
  expect_error(call(q_, zeros({2, 7, 2, 3}, DType::f32), v_), "must share one floating dtype");
  expect_error(call(q_, k_, v_, {.scale = -1}), "scale must be positive, not -1");
  expect_error(call(q_, k_, v_, {.scale = NAN}), "scale must be positive");
  expect_error(call(q_, k_, v_, {.window = -1}), "window must be 0 (no limit) or more, not -1");
  expect_error(call(q_, k_, v_, {.softcap = -1}), "softcap must be 0 (off) or more");
  expect_error(call(q_, k_, v_, {.dropout = 1}), "dropout must lie in [0, 1), not 1");
  expect_error(call(q_, k_, v_, {.q_bucket_size = 0}), "bucket sizes must be at least 1");
  expect_error(call(q_, k_, v_, {.alibi_slopes = Tensor::zeros({2}, DType::f32)}), "alibi_slopes must be float32 [4]");
  expect_error(call(q_, k_, v_, {.q_segments = Tensor::zeros({2, 5}, DType::i32)}),
               "q_segments, used for the keys too, must be int32 [2, 7]");
  expect_error(call(q_, k_, v_, {.k_segments = Tensor::zeros({2, 7}, DType::i32)}), "k_segments need q_segments");
  expect_error(call(q_, k_, v_, {.compute_dtype = DType::f32}), "float64 inputs cannot be computed with in float32");
}

}  // namespace
}  // namespace tessera
