#include "modules/language_model.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/autograd/kv_cache.h"
#include "framework/tensor/allocator.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using Options = LanguageModel::Options;
using Position = LanguageModel::Position;

Options small(Options options = {}) {
  options.vocab_size = 19;
  options.block_size = 12;
  options.n_layer = 2;
  options.n_head = 4;
  options.n_embd = 16;
  return options;
}

Options small_f64(Options options) {
  options.dtype = options.residual_dtype = DType::f64;
  return small(options);
}

Options llama() {
  return {.kv_heads = 2,
          .norm = Norm::Kind::rms,
          .position = Position::rotary,
          .activation = FeedForward::Kind::swiglu,
          .tie_embeddings = false};
}

Tensor random_ids(const Shape& shape, uint64_t key) {
  const std::vector<double> drawn = doubles(uniform(shape, key, 0, 19));
  std::vector<int32_t> ids;
  for (const double value : drawn) ids.push_back(static_cast<int32_t>(value));
  return Tensor::from(ids, shape);
}

TEST(LanguageModel, KeysOfBothStyles) {
  const auto keys = [](const Options& options) {
    LanguageModel model(small(options));
    name_members(model);
    std::vector<std::string> names;
    for (const ParameterPtr& parameter : parameters(model)) names.push_back(parameter->name);
    return names;
  };
  Options one = {.bias = true};
  const std::vector<std::string> gpt = keys(one);
  EXPECT_EQ(gpt.size(), 2u + 2 * 14 + 2);
  EXPECT_EQ(gpt[0], "wte.weight");
  EXPECT_EQ(gpt[1], "wpe.weight");
  EXPECT_EQ(gpt[4], "blocks.0.attention.to_q.weight");
  EXPECT_EQ(gpt.back(), "norm.bias");
  const std::vector<std::string> rotary = keys(llama());
  EXPECT_EQ(rotary.size(), 1u + 2 * 7 + 2);
  EXPECT_EQ(rotary[1], "blocks.0.norm_1.weight");
  EXPECT_EQ(rotary.back(), "lm_head.weight");
}

TEST(LanguageModel, EveryGradient) {
  for (const Options& options : {Options{.bias = true}, llama()}) {
    Options tiny = small_f64(options);
    tiny.n_embd = 8;
    tiny.n_layer = 1;
    LanguageModel model(tiny);
    initialize(model, {.seed = 1, .dtype = DType::f64});
    const Tensor ids = random_ids({2, 3}, 2), targets = random_ids({2, 3}, 3);
    targets.data<int32_t>()[3] = -1;
    const GradcheckResult result =
        gradcheck([&](const Pass& pass) { return model.loss(pass.input(ids), targets); }, parameters(model));
    EXPECT_TRUE(result.ok) << result.message;
  }
}

TEST(LanguageModel, TheLossIsASumOverADenominator) {
  LanguageModel model(small_f64({}));
  initialize(model, {.seed = 1, .dtype = DType::f64});
  const Tensor ids = random_ids({2, 5}, 2), targets = random_ids({2, 5}, 3);
  targets.data<int32_t>()[3] = -1;
  EXPECT_NEAR(model.loss(ids, targets).value().item() * 9, model.loss(ids, targets, 1).value().item(), 1e-12);
}

TEST(LanguageModel, SaysWhatDoesNotFit) {
  LanguageModel model(small());
  initialize(model);
  expect_error([&] { model(random_ids({1, 13}, 1)); }, "[batch, n] with n up to block_size 12, not [1, 13]");
  expect_error([&] { model(random_ids({5}, 1)); }, "ids must be [batch, n]");
  const Tensor unknown = Tensor::from(std::vector<int32_t>{3, 19, 3}, {1, 3});
  expect_error([&] { model(unknown); }, "embedding: token 1 of the batch is 19, outside the vocabulary of 19");
  expect_error([] { LanguageModel(Options{.vocab_size = 5, .n_head = 5, .n_embd = 16}); },
               "LanguageModel: n_head 5 must divide n_embd 16");
  expect_error([] { LanguageModel(Options{}); }, "vocab_size, n_layer and block_size must be positive");
}

// ── The KV cache ──

TEST(LanguageModel, CachedLogitsAreTheUncachedOnes) {
  Options window = llama();
  window.window = 4;
  for (const Options& options : {Options{.bias = true}, llama(), Options{.position = Position::alibi}, window}) {
    LanguageModel model(small_f64(options));
    initialize(model, {.seed = 1, .dtype = DType::f64});
    const Tensor ids = random_ids({2, 12}, 2);
    const std::vector<double> whole = doubles(model(ids).value());
    KvCache cache(12);
    for (int run = 0; run < 2; ++run) {  // a cleared cache is as good as new
      const Pass pass = Pass::inference(&cache);
      std::vector<Variable> pieces{model(pass.input(ids.slice(1, 0, 5)))};
      for (int64_t n = 5; n < 12; ++n) pieces.push_back(model(pass.input(ids.slice(1, n, n + 1))));
      EXPECT_LE(distance(doubles(ops::concat(pieces, 1).value()), whole), 1e-12);
      EXPECT_EQ(cache.length(), 12);
      cache.clear();
    }
  }
}

// ── Recompute ──

struct Step {
  double loss;
  std::vector<double> gradients;
  std::vector<std::string> announced;
};

Step one_step(const Options& options, const Tensor& ids, const Tensor& targets, const Pass::Options& how,
              double denominator = 0) {
  LanguageModel model(options);
  const ParameterArena arena(model, {.seed = 1, .dtype = accumulate_dtype(options.dtype)});
  Step step;
  const Pass pass = Pass::recording(how);
  pass.on_gradient_ready([&](const ParameterState& parameter) { step.announced.push_back(parameter.name); });
  arena.begin_window();
  const Variable loss = model.loss(pass.input(ids), targets, denominator);
  backward(loss);
  arena.finish_window();
  step.loss = loss.value().item();
  step.gradients = doubles(arena.gradients());
  return step;
}

TEST(LanguageModel, RecomputeGivesTheSameBits) {
  const Tensor ids = random_ids({3, 12}, 2), targets = random_ids({3, 12}, 3);
  for (Options options : {Options{.dropout = 0.2, .bias = true}, llama()}) {
    options.dropout = 0.2;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      options.dtype = dtype;
      options.recompute = false;
      const Step kept = one_step(small(options), ids, targets, {.iteration = 5, .seed = 6});
      options.recompute = true;
      const Step again = one_step(small(options), ids, targets, {.iteration = 5, .seed = 6});
      EXPECT_EQ(again.loss, kept.loss);
      EXPECT_EQ(again.gradients, kept.gradients);
      EXPECT_EQ(std::set(again.announced.begin(), again.announced.end()),
                std::set(kept.announced.begin(), kept.announced.end()));
      EXPECT_EQ(again.announced.size(), kept.announced.size());
    }
  }
}

// ── Randomness ──

TEST(LanguageModel, DropoutDoesNotDependOnHowTheBatchIsSplit) {
  Options options{.dropout = 0.3};
  options = small_f64(options);
  const Tensor ids = random_ids({5, 12}, 2), targets = random_ids({5, 12}, 3);
  const Step whole = one_step(options, ids, targets, {.iteration = 5, .seed = 6}, 60);
  const Step none = one_step(small_f64({}), ids, targets, {.iteration = 5, .seed = 6}, 60);
  EXPECT_GT(std::abs(whole.loss - none.loss), 1e-4);
  double loss = 0;
  std::vector<double> gradients(whole.gradients.size());
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 2}, {2, 3}, {3, 5}}) {
    const Step part = one_step(options, ids.slice(0, begin, end), targets.slice(0, begin, end),
                               {.iteration = 5, .seed = 6, .first_sample = begin}, 60);
    loss += part.loss;
    for (size_t i = 0; i < gradients.size(); ++i) gradients[i] += part.gradients[i];
  }
  EXPECT_NEAR(loss, whole.loss, 1e-13);
  EXPECT_LE(distance(gradients, whole.gradients), 1e-12);
}

// ── Packed documents ──

TEST(LanguageModel, SegmentsKeepDocumentsApart) {
  Options options = llama();
  options.position = Position::alibi;  // positions are relative: a document may stand anywhere
  LanguageModel model(small_f64(options));
  initialize(model, {.seed = 1, .dtype = DType::f64});
  const Tensor ids = random_ids({1, 12}, 2);
  const Tensor segments = Tensor::from(std::vector<int32_t>{0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1}, {1, 12});
  const std::vector<double> packed = doubles(model(ids, segments).value().slice(1, 5, 12));
  EXPECT_LE(distance(packed, doubles(model(ids.slice(1, 5, 12)).value())), 1e-13);
  EXPECT_GT(distance(packed, doubles(model(ids).value().slice(1, 5, 12))), 1e-3);
}

// ── Precision and memory ──

TEST(LanguageModel, SixteenBitIsCloseToF32) {
  const Tensor ids = random_ids({3, 12}, 2), targets = random_ids({3, 12}, 3);
  for (Options options : {Options{.bias = true}, llama()}) {
    const Step wide = one_step(small(options), ids, targets, {});
    for (const auto& [dtype, tolerance] : {std::pair(DType::bf16, 3e-2), {DType::f16, 4e-3}}) {
      options.dtype = dtype;
      for (const DType residual : {DType::f32, dtype}) {
        options.residual_dtype = residual;
        const Step narrow = one_step(small(options), ids, targets, {});
        EXPECT_NEAR(narrow.loss, wide.loss, tolerance);
        EXPECT_LE(distance(narrow.gradients, wide.gradients), tolerance) << name_of(dtype) << name_of(residual);
      }
    }
  }
}

// Weights that have grown beyond all bounds make a loss that is not finite, on every device.
TEST(LanguageModel, OverflowIsNotHidden) {
  const Tensor ids = random_ids({2, 12}, 2).to(test_device());
  for (const Options& options : {Options{.bias = true}, llama()}) {
    LanguageModel model(small(options));
    const ParameterArena arena(model, {.seed = 1, .device = test_device()});
    for (const ParameterPtr& parameter : parameters(model)) {
      if (parameter->shape.rank() == 2) parameter->value.copy_from(ops::scale(parameter->value, 1e27).value());
    }
    const Variable loss = model.loss(Pass::inference().input(ids), ids);
    EXPECT_FALSE(std::isfinite(loss.value().item()));
  }
}

// What a token costs in a bfloat16 layer of width C: q, k, v 3C, what the heads put out C, both norms 2C, the mlp 4C.
TEST(LanguageModel, ALayerKeepsTenNumbersPerChannel) {
  const Device device = test_device();
  const int64_t rows = 4, length = 12, width = 128;
  const auto kept_by = [&](int64_t layers) {
    Options options{.bias = false, .dtype = DType::bf16};
    options = small(options);
    options.n_layer = layers, options.n_embd = width;
    LanguageModel model(options);
    const ParameterArena arena(model, {.seed = 1, .device = device, .mirror = DType::bf16});
    const Tensor ids = random_ids({rows, length}, 2).to(device);
    const int64_t before = allocator_stats(device).bytes_in_use;
    const Pass pass = Pass::recording({});
    const Variable loss = model.loss(pass.input(ids), ids);
    return allocator_stats(device).bytes_in_use - before;
  };
  const int64_t activations = rows * length * width * 10 * 2;
  kept_by(1);  // and what libraries keep for themselves from their first call on
  const int64_t more = kept_by(3) - kept_by(2);
  EXPECT_GE(more, activations);
  EXPECT_LE(more, activations + activations / 16);  // statistics of the norms and of attention
}

TEST(LanguageModel, TheTapeIsGoneAfterAStep) {
  LanguageModel model(small());
  const ParameterArena arena(model, {});
  const int64_t before = allocator_stats({}).bytes_in_use;
  {
    const Tensor ids = random_ids({3, 12}, 2);
    const Pass pass = Pass::recording({});
    model.loss(pass.input(ids), ids);  // no backward: the tape goes with its pass
  }
  EXPECT_EQ(allocator_stats({}).bytes_in_use, before);
}

}  // namespace
}  // namespace tessera
