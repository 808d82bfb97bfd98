// FlashAttentionTwo: what each option computes, its construction, precision and randomness, and its use with a cache.
#include "modules/flash_attention_two.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/autograd/kv_cache.h"
#include "framework/io/checkpoint.h"
#include "framework/io/safetensors.h"
#include "tests/framework/ops/op_check.h"
#include "tests/modules/drawn_layer.h"
#include "tests/modules/plain_layer.h"
#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Options = FlashAttentionTwo::Options;

struct LayerCase {
  const char* name;
  Options options;
  PlainAttention attention;
};

bool causal(const ScorePlace& at) { return at.j <= at.p; }

std::vector<LayerCase> layer_cases() {
  const auto alibi = [](const ScorePlace& at, double s) {
    return s - std::exp2(-2.0 * static_cast<double>(at.h + 1)) * static_cast<double>(std::abs(at.p - at.j));
  };
  return {
      {"plain", {.heads = 4, .dim_head = 5}, {}},
      {"causal", {.heads = 4, .dim_head = 5, .causal = true}, {.sees = causal}},
      {"bias", {.heads = 3, .dim_head = 4, .bias = true}, {}},
      {"kv_heads", {.heads = 4, .dim_head = 3, .kv_heads = 2}, {}},
      {"one_kv_head", {.heads = 4, .dim_head = 3, .bias = true, .kv_heads = 1}, {}},
      {"window",
       {.heads = 2, .dim_head = 3, .causal = true, .window = 3},
       {.sees = [](const ScorePlace& at) { return causal(at) && at.p - at.j < 3; }}},
      {"softcap",
       {.heads = 2, .dim_head = 6, .softcap = 0.2},
       {.score = [](const ScorePlace&, double s) { return 0.2 * std::tanh(s / 0.2); }}},
      {"alibi", {.heads = 4, .dim_head = 3, .causal = true, .alibi = true}, {.sees = causal, .score = alibi}},
      {"rotary", {.heads = 2, .dim_head = 6, .causal = true, .rotary = true}, {.sees = causal}},
      {"small_buckets", {.heads = 2, .dim_head = 6, .q_bucket_size = 2, .k_bucket_size = 3}, {}},
  };
}

class FlashAttentionTwoOptions : public testing::TestWithParam<size_t> {};

TEST_P(FlashAttentionTwoOptions, ForwardAndEveryGradient) {
  const LayerCase c = layer_cases()[GetParam()];
  const FlashAttentionTwo layer = make(c.options);
  const Tensor x = uniform({2, 7, kDim}, 1, -2, 2);
  const auto forward = [&](std::span<const Variable> v) { return layer(v[0]); };
  EXPECT_LE(distance(doubles(layer(x).value()), plain_layer(layer, x, x, c.attention)), 1e-12);
  const GradcheckResult of_x = gradcheck(forward, std::vector{x});
  EXPECT_TRUE(of_x.ok) << of_x.message;
  const GradcheckResult of_weights =
      gradcheck([&](const Pass& pass) { return layer(pass.input(x)); }, parameters(layer));
  EXPECT_TRUE(of_weights.ok) << of_weights.message;
}

INSTANTIATE_TEST_SUITE_P(Options, FlashAttentionTwoOptions, testing::Range<size_t>(0, layer_cases().size()),
                         [](const auto& info) { return layer_cases()[info.param].name; });

// ── Construction ──

TEST(FlashAttentionTwo, DefaultsAndStateDictAreTheSpecifications) {
  const Options options;
  EXPECT_EQ(options.heads, 8);
  EXPECT_EQ(options.dim_head, 64);
  EXPECT_FALSE(options.causal || options.parallel || options.mixed_precision || options.bias);
  EXPECT_EQ(options.q_bucket_size, 512);
  EXPECT_EQ(options.k_bucket_size, 1024);

  FlashAttentionTwo layer({.dim = 512});
  initialize(layer);
  std::vector<std::string> keys;
  std::vector<Shape> shapes;
  for (const ParameterPtr& parameter : parameters(layer)) {
    keys.push_back(parameter->name);
    shapes.push_back(parameter->shape);
  }
  EXPECT_THAT(keys, ElementsAre("to_q.weight", "to_kv.weight", "to_out.weight"));
  EXPECT_THAT(shapes, ElementsAre(Shape{512, 512}, Shape{1024, 512}, Shape{512, 512}));
}

// A file with the specification's names and nothing else; the first half of to_kv makes keys.
TEST(FlashAttentionTwo, LoadsAStateDictOfTheSpecification) {
  const TemporaryFolder folder;
  const std::map<std::string, Tensor> weights{{"to_q.weight", uniform({15, kDim}, 1).to(DType::f32)},
                                              {"to_kv.weight", uniform({30, kDim}, 2).to(DType::f32)},
                                              {"to_out.weight", uniform({kDim, 15}, 3).to(DType::f32)}};
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, weight] : weights) {
    const auto* bytes = static_cast<const std::byte*>(weight.address());
    entries.push_back({.name = name,
                       .dtype = DType::f32,
                       .shape = {weight.dim(0), weight.dim(1)},
                       .bytes = {bytes, static_cast<size_t>(weight.nbytes())}});
  }
  write_safetensors(folder / "model.safetensors", entries);

  const FlashAttentionTwo layer = make({.heads = 3, .dim_head = 5});
  load_model(folder.path(), parameters(layer));
  const Tensor x = uniform({2, 7, kDim}, 4);
  const auto project = [&](const std::string& name, int64_t first) {
    const Tensor rows = weights.at(name).slice(0, first, first + 15).to(DType::f64);
    return ops::reshape(ops::linear(x, rows), {2, 7, 3, 5});
  };
  const Variable out =
      ops::flash_attention(project("to_q.weight", 0), project("to_kv.weight", 0), project("to_kv.weight", 15));
  const Variable expected = ops::linear(ops::reshape(out, {2, 7, 15}), weights.at("to_out.weight").to(DType::f64));
  EXPECT_LE(distance(doubles(layer(x).value()), doubles(expected.value())), 1e-13);
}

TEST(FlashAttentionTwo, ProjectsOnceByNeighboursInAnArena) {
  FlashAttentionTwo layer({.dim = 32, .heads = 4, .dim_head = 8, .bias = true, .kv_heads = 2});
  const ParameterArena arena(layer, {});
  const Tensor weights[] = {layer.to_kv.weight.value(), layer.to_q.weight.value()};
  EXPECT_TRUE(joined_view(weights, 0).defined());
  EXPECT_EQ(joined_view(weights, 0).shape(), Shape({64, 32}));
  std::map<std::string, int> calls;
  const Pass pass = Pass::inference().with_observer([&](const char* op, auto, auto) { ++calls[op]; });
  layer(pass.input(random_normal({1, 3, 32}, 1)));
  EXPECT_EQ(calls["joint_linear"], 1);
  EXPECT_EQ(calls["linear"], 1);  // to_out
}

TEST(FlashAttentionTwo, BadOptionsAreRefused) {
  const auto build = [](const Options& options) { return [=] { FlashAttentionTwo layer(options); }; };
  expect_error(build({}), "FlashAttentionTwo: dim, heads and kv_heads must be positive, not 0, 8 and 8");
  expect_error(build(with({.heads = -1})), "must be positive");
  expect_error(build(with({.dim_head = 257})), "dim_head must be 1 to 256, not 257");
  expect_error(build(with({.heads = 4, .kv_heads = 3})), "kv_heads 3 must divide heads 4");
  expect_error(build(with({.mixed_precision_dtype = DType::f32})), "must be bfloat16 or float16, not float32");
  expect_error(build(with({.dim_head = 5, .rotary = true})), "rotary needs an even dim_head, not 5");
}

TEST(FlashAttentionTwo, AlibiSlopes) {
  EXPECT_THAT(doubles(alibi_slopes(4)), ElementsAre(0.25, 0.0625, 0.015625, 0.00390625));
  EXPECT_THAT(doubles(alibi_slopes(3)), ElementsAre(0.0625, 0.00390625, 0.25));
  const std::vector<double> twelve = doubles(alibi_slopes(12));
  EXPECT_DOUBLE_EQ(twelve[0], 0.5);
  EXPECT_FLOAT_EQ(static_cast<float>(twelve[8]), std::exp2(-0.5f));
  EXPECT_FLOAT_EQ(static_cast<float>(twelve[11]), std::exp2(-3.5f));
}

// ── Precision ──

class FlashAttentionTwoMixed : public testing::TestWithParam<DType> {};

TEST_P(FlashAttentionTwoMixed, OnlyTheCoreIsNarrow) {
  const DType dtype = GetParam();
  const int roundings = 3;  // of q, k and v, of the weights and of the result
  const Tensor x = uniform({2, 33, kDim}, 1, -2, 2);
  const FlashAttentionTwo exact = make({.heads = 2, .dim_head = 16, .causal = true});
  const FlashAttentionTwo mixed =
      make({.heads = 2, .dim_head = 16, .causal = true, .mixed_precision = true, .mixed_precision_dtype = dtype},
           DType::f32);
  for (const double magnitude : {1.0, 1e-12}) {  // float16 alone would lose the second
    SCOPED_TRACE(magnitude);
    const Tensor seed = ops::scale(uniform(x.shape(), 5), magnitude).value();
    const auto run = [&](const FlashAttentionTwo& layer, DType in) {
      for (const ParameterPtr& parameter : parameters(layer)) parameter->gradient_written = false;
      return run_op([&](std::span<const Variable> v) { return layer(v[0]); }, std::vector{x.to(in)}, {}, seed.to(in));
    };
    const OpResult expected = run(exact, DType::f64), result = run(mixed, DType::f32);
    EXPECT_EQ(result.y.dtype(), DType::f32);
    EXPECT_LE(distance(doubles(result.y), doubles(expected.y)), allowed_error(expected.y, dtype, 2, roundings));
    EXPECT_GT(distance(doubles(result.y), doubles(expected.y)), 1e-6) << "not computed in 16 bit";
    const auto expect_near = [&](const Tensor& gradient, const Tensor& wanted) {
      const Tensor in_range = ops::scale(wanted, 1 / magnitude).value();
      EXPECT_LE(distance(doubles(gradient), doubles(wanted)), allowed_error(in_range, dtype, 3, roundings));
    };
    expect_near(result.gradients[0], expected.gradients[0]);
    const auto weights = parameters(mixed), exact_weights = parameters(exact);
    for (size_t i = 0; i < weights.size(); ++i) {
      EXPECT_EQ(weights[i]->gradient.dtype(), DType::f32);
      SCOPED_TRACE(weights[i]->name);
      expect_near(weights[i]->gradient, exact_weights[i]->gradient);
    }
  }
}

TEST_P(FlashAttentionTwoMixed, ChangesNothingForNarrowInputs) {
  const Tensor x = uniform({2, 9, kDim}, 1).to(GetParam());
  const auto run = [&](bool mixed) {
    return doubles(
        make({.heads = 2, .mixed_precision = mixed, .mixed_precision_dtype = DType::bf16}, DType::f32)(x).value());
  };
  EXPECT_EQ(run(true), run(false));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, FlashAttentionTwoMixed, testing::Values(DType::bf16, DType::f16));

// ── Randomness, parallel, plan, cache ──

TEST(FlashAttentionTwo, DropoutDoesNotDependOnHowTheBatchIsSplit) {
  const FlashAttentionTwo layer = make({.heads = 2, .dim_head = 4, .dropout = 0.3, .output_dropout = 0.2});
  const Tensor x = uniform({5, 6, kDim}, 1);
  const Op op = [&](std::span<const Variable> v) { return layer(v[0]); };
  const OpResult whole = run_op(op, std::vector{x}, {.iteration = 4, .seed = 2});
  EXPECT_GT(distance(doubles(whole.y), doubles(layer(Pass::inference().input(x)).value())), 0.1);
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 2}, {2, 5}, {4, 5}}) {
    const OpResult part = run_op(op, std::vector{x.slice(0, begin, end)},
                                 {.iteration = 4, .seed = 2, .first_sample = begin}, whole.dy.slice(0, begin, end));
    EXPECT_LE(distance(doubles(part.y), doubles(whole.y.slice(0, begin, end))), 1e-13);
    EXPECT_LE(distance(doubles(part.gradients[0]), doubles(whole.gradients[0].slice(0, begin, end))), 1e-13);
  }
}

TEST(FlashAttentionTwo, ParallelChangesNothingOnTheCpuAndSaysSoOnce) {
  const Tensor x = uniform({2, 9, kDim}, 1);
  const std::vector<double> alone = doubles(make({.heads = 2})(x).value());
  testing::internal::CaptureStderr();
  const FlashAttentionTwo parallel = make({.heads = 2, .parallel = true});
  EXPECT_EQ(doubles(parallel(x).value()), alone);
  parallel(x);
  const std::string notice = testing::internal::GetCapturedStderr();
  EXPECT_THAT(notice, HasSubstr("on the CPU, it changes nothing"));
  EXPECT_EQ(std::count(notice.begin(), notice.end(), '\n'), 1);
}

TEST(FlashAttentionTwo, PlanObeysTheBounds) {
  for (const int64_t bound : {1, 16, 100, 512}) {
    const FlashAttentionTwo layer({.dim = kDim, .q_bucket_size = bound, .k_bucket_size = 2 * bound});
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const AttentionPlan plan = layer.plan(4, 1000, 3000, dtype);
      EXPECT_TRUE(plan.tile_q >= 1 && plan.tile_q <= bound && plan.tile_k >= 1 && plan.tile_k <= 2 * bound);
      EXPECT_GT(plan.scratch_bytes, 0);
    }
  }
}

TEST(FlashAttentionTwo, ACacheGivesWhatTheWholeSequenceGives) {
  for (const Options& options : {Options{.heads = 4, .dim_head = 4, .causal = true},
                                 {.heads = 4, .dim_head = 4, .causal = true, .kv_heads = 2},
                                 {.heads = 2, .dim_head = 4, .causal = true, .rotary = true},
                                 {.heads = 2, .causal = true, .alibi = true},
                                 {.heads = 2, .dim_head = 4, .causal = true, .window = 3}}) {
    const FlashAttentionTwo layer = make(options);
    const Tensor x = uniform({2, 9, kDim}, 1);
    const std::vector<double> whole = doubles(layer(x).value());
    KvCache cache(9);
    const Pass pass = Pass::inference(&cache);
    std::vector<Variable> pieces;
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 4}, {4, 5}, {5, 9}}) {
      pieces.push_back(layer(pass.input(x.slice(1, begin, end))));
      cache.advance(end - begin);
    }
    EXPECT_LE(distance(doubles(ops::concat(pieces, 1).value()), whole), 1e-13);
    expect_error([&] { layer(pass.input(x.slice(1, 0, 1))); }, "kv cache: 10 tokens do not fit the 9");
  }
}

TEST(FlashAttentionTwo, ACacheRefusesWhatWouldOverwriteOrLackKeys) {
  const Options options{.heads = 2, .dim_head = 6, .causal = true};
  const FlashAttentionTwo layer = make(options), namesake = make(options);
  const Tensor x = uniform({2, 3, kDim}, 1);
  KvCache cache(9);
  const Pass pass = Pass::inference(&cache);
  layer(pass.input(x));
  expect_error([&] { layer(pass.input(x)); }, "kv cache: two attention layers share a place");
  expect_error([&] { namesake(pass.input(x)); }, "kv cache: two attention layers share a place");
  cache.advance(3);
  expect_error([&] { layer(pass.input(x.slice(0, 0, 1))); },
               "kv cache: it holds 3 tokens of float64 keys [2, 9, 2, 6]");
  const Tensor k = uniform({2, 1, 2, 6}, 2);
  expect_error([&] { cache.append(1, k, k); },
               "kv cache: it holds 0 tokens of an attention layer whose next is token 3");
  cache.clear();
  layer(pass.input(x.slice(0, 0, 1)));  // the first pass may bring another batch
  expect_error([&] { Pass::recording({.cache = &cache}); }, "pass: a cache is for inference");
  expect_error([&] { (void)pass.with_new_tape(); }, "pass: a cache is for inference");
}

}  // namespace
}  // namespace tessera
