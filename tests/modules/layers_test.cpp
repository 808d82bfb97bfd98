// Linear, Embedding, the norms, FeedForward, TransformerBlock and Sequential: names, first values and forward
// expressions. The arithmetic is the ops' tests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "modules/embedding.h"
#include "modules/sequential.h"
#include "modules/transformer_block.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

using testing::ElementsAre;

template <Module Model>
std::vector<std::string> keys(Model& model) {
  name_members(model);
  std::vector<std::string> all;
  for (const ParameterPtr& parameter : parameters(model)) {
    all.push_back(parameter->name + " " + to_string(parameter->shape));
  }
  return all;
}

// All gradients of a module in f64: of x and of every parameter.
template <class Layer>
void check_gradients(const Layer& layer, const Tensor& x, const Pass::Options& pass = {}) {
  const GradcheckOptions options{.pass = pass};
  const GradcheckResult of_x =
      gradcheck([&](std::span<const Variable> v) { return layer(v[0]); }, std::vector{x}, options);
  EXPECT_TRUE(of_x.ok) << of_x.message;
  const GradcheckResult of_weights =
      gradcheck([&](const Pass& p) { return layer(p.input(x)); }, parameters(layer), options);
  EXPECT_TRUE(of_weights.ok) << of_weights.message;
}

TEST(Linear, KeysFirstValuesAndForward) {
  Linear layer({.in = 100, .out = 7});
  EXPECT_THAT(keys(layer), ElementsAre("weight [7, 100]", "bias [7]"));
  initialize(layer, {.seed = 1, .dtype = DType::f64});
  for (const Parameter* parameter : {&layer.weight, &layer.bias}) {
    double largest = 0;
    for (const double value : doubles(parameter->value())) largest = std::max(largest, std::abs(value));
    EXPECT_LE(largest, 0.1);  // 1/√in
    EXPECT_GE(largest, 0.05);
  }
  const Tensor x = uniform({3, 100}, 2);
  EXPECT_EQ(doubles(layer(x).value()), doubles(ops::linear(x, layer.weight, layer.bias).value()));

  Linear bare({.in = 4, .out = 7, .bias = false, .init = Init::normal(2)});
  EXPECT_THAT(keys(bare), ElementsAre("weight [7, 4]"));
  expect_error([] { Linear({.in = 0, .out = 3}); }, "Linear: in and out must be positive, not 0 and 3");
}

TEST(Embedding, KeysAndForward) {
  Embedding layer({.count = 5, .dim = 3});
  EXPECT_THAT(keys(layer), ElementsAre("weight [5, 3]"));
  initialize(layer, {.seed = 1});
  const Tensor ids = Tensor::from(std::vector<int32_t>{4, 0}, {1, 2});
  EXPECT_EQ(doubles(layer(ids).value().slice(1, 0, 1)), doubles(layer.weight.value().slice(0, 4, 5)));
}

TEST(Norms, KeysAndForward) {
  const Tensor x = uniform({3, 6}, 1);
  LayerNorm layer({.dim = 6, .epsilon = 0.1}), bare({.dim = 6, .bias = false});
  RMSNorm rms({.dim = 6, .epsilon = 0.1});
  EXPECT_THAT(keys(layer), ElementsAre("weight [6]", "bias [6]"));
  EXPECT_THAT(keys(bare), ElementsAre("weight [6]"));
  EXPECT_THAT(keys(rms), ElementsAre("weight [6]"));
  for (const auto& [initial, expected] : {std::pair{&layer.weight, 1.0}, {&layer.bias, 0.0}, {&rms.weight, 1.0}}) {
    initial->state()->value = Tensor::empty({6}, DType::f64);
    draw_initial_values(*initial->state(), 1);
    EXPECT_EQ(doubles(initial->value()), std::vector<double>(6, expected));
  }
  layer.weight.value().copy_from(uniform({6}, 2));
  layer.bias.value().copy_from(uniform({6}, 3));
  EXPECT_EQ(doubles(layer(x).value()), doubles(ops::layer_norm(x, layer.weight, layer.bias, {.epsilon = 0.1}).value()));
  EXPECT_EQ(doubles(rms(x).value()), doubles(ops::rms_norm(x, rms.weight, {.epsilon = 0.1}).value()));
  EXPECT_EQ(rms(x, DType::bf16).dtype(), DType::bf16);
}

TEST(Norms, EitherByOptionUnderTheSameKeys) {
  Norm layer({.kind = Norm::Kind::layer, .dim = 4}), bare({.dim = 4, .bias = false});
  Norm rms({.kind = Norm::Kind::rms, .dim = 4});
  EXPECT_THAT(keys(layer), ElementsAre("weight [4]", "bias [4]"));
  EXPECT_THAT(keys(bare), ElementsAre("weight [4]"));
  EXPECT_THAT(keys(rms), ElementsAre("weight [4]"));
  for (Norm* norm : {&layer, &rms}) initialize(*norm, {.dtype = DType::f64});
  const Tensor x = uniform({3, 4}, 1);
  EXPECT_EQ(doubles(layer(x).value()), doubles((*layer.layer)(x).value()));
  EXPECT_EQ(doubles(rms(x).value()), doubles((*rms.rms)(x).value()));
}

TEST(FeedForward, HiddenSizesAndKeys) {
  using Kind = FeedForward::Kind;
  FeedForward gelu({.dim = 6}), chosen({.dim = 6, .hidden = 10, .bias = false});
  FeedForward swiglu({.dim = 48, .kind = Kind::swiglu, .bias = false});
  EXPECT_THAT(keys(gelu), ElementsAre("up.weight [24, 6]", "up.bias [24]", "down.weight [6, 24]", "down.bias [6]"));
  EXPECT_THAT(keys(chosen), ElementsAre("up.weight [10, 6]", "down.weight [6, 10]"));
  EXPECT_THAT(keys(swiglu), ElementsAre("up.weight [256, 48]", "down.weight [48, 128]"));  // 8/3 · 48 = 128
}

TEST(FeedForward, EveryKind) {
  const Tensor x = uniform({2, 3, 4}, 1, -2, 2), residual = uniform({2, 3, 4}, 2);
  for (const FeedForward::Kind kind :
       {FeedForward::Kind::gelu, FeedForward::Kind::gelu_tanh, FeedForward::Kind::swiglu}) {
    FeedForward layer({.dim = 4, .hidden = 6, .kind = kind});
    initialize(layer, {.seed = 4, .dtype = DType::f64});
    const Variable h = layer.up(x);
    const Variable middle = kind == FeedForward::Kind::swiglu ? ops::swiglu(h)
                            : kind == FeedForward::Kind::gelu ? ops::gelu(h)
                                                              : ops::gelu(h, Activation::gelu_tanh);
    const std::vector<double> expected = doubles(layer.down(middle).value());
    EXPECT_LE(distance(doubles(layer(x).value()), expected), 1e-15);
    EXPECT_LE(distance(doubles(layer(x, residual).value()), doubles(ops::add(layer.down(middle), residual).value())),
              1e-15);
    check_gradients(layer, x);
  }
}

TEST(FeedForward, DropoutOfTheResultBeforeTheResidual) {
  FeedForward layer({.dim = 8, .dropout = 0.5});
  initialize(layer, {.seed = 4, .dtype = DType::f64});
  const Tensor x = uniform({4, 8}, 1), residual = Tensor::full({4, 8}, 1, DType::f64);
  const Pass pass = Pass::recording({.seed = 2});
  const std::vector<double> y = doubles(layer(pass.input(x), residual).value());
  const auto untouched = std::count(y.begin(), y.end(), 1.0);
  EXPECT_GT(untouched, 4);
  EXPECT_LT(untouched, 28);
  EXPECT_EQ(doubles(layer(Pass::inference().input(x)).value()), doubles(layer(x).value()));
  check_gradients(layer, x, {.seed = 2});
}

TransformerBlock::Options block_options() {
  return {.attention = {.dim = 6, .heads = 2, .dim_head = 3, .causal = true, .bias = true},
          .feed_forward = {.dim = 6, .hidden = 8},
          .norm = {.dim = 6},
          .dtype = DType::f64};
}

TEST(TransformerBlock, NormsFirstAndTwoResiduals) {
  TransformerBlock block(block_options());
  initialize(block, {.seed = 1, .dtype = DType::f64});
  const Tensor x = uniform({2, 4, 6}, 1);
  const Variable half = ops::add(block.attention(block.norm_1(x)), x);
  const Variable y = ops::add(block.feed_forward(block.norm_2(half)), half);
  EXPECT_LE(distance(doubles(block(x).value()), doubles(y.value())), 1e-15);
  check_gradients(block, x);
  const std::vector<std::string> names = keys(block);
  EXPECT_EQ(names.front(), "norm_1.weight [6]");
  EXPECT_EQ(names[2], "attention.to_q.weight [6, 6]");
  EXPECT_EQ(names.back(), "feed_forward.down.bias [6]");
}

TEST(TransformerBlock, TheStreamKeepsItsDtype) {
  TransformerBlock::Options options = block_options();
  options.dtype = DType::bf16;
  TransformerBlock block(options);
  initialize(block, {.seed = 1});
  std::vector<DType> inside;
  const Pass pass = Pass::recording({});
  const Variable y = block(pass.leaf(uniform({2, 4, 6}, 1).to(DType::f32)));
  EXPECT_EQ(y.dtype(), DType::f32);
  pass.graph()->observe_backward([&](const Graph::Node& node) {
    if (std::string(node.name) == "flash_attention") inside.push_back(node.outputs[0]->dtype);
  });
  backward(y, Tensor::full(y.shape(), 1, DType::f32));
  EXPECT_THAT(inside, ElementsAre(DType::bf16));
}

// A layer of one's own that has nothing to visit.
struct Twice {
  Variable operator()(const Variable& x) const { return ops::scale(x, 2); }
};

TEST(Sequential, OneAfterTheOther) {
  Sequential model(Linear({.in = 3, .out = 5}), Twice{}, Linear({.in = 5, .out = 2, .bias = false}));
  EXPECT_THAT(keys(model), ElementsAre("0.weight [5, 3]", "0.bias [5]", "2.weight [2, 5]"));
  initialize(model, {.seed = 1, .dtype = DType::f64});
  const Tensor x = uniform({4, 3}, 1);
  EXPECT_EQ(doubles(model(x).value()), doubles(model.get<2>()(ops::scale(model.get<0>()(x), 2)).value()));
  check_gradients(model, x);
}

TEST(Sequential, TakesAnyFunctionOfAVariable) {
  Sequential model(
      Linear({.in = 3, .out = 5}), [](const Variable& x) { return ops::gelu(x); }, Linear({.in = 5, .out = 2}));
  initialize(model, {.seed = 1, .dtype = DType::f64});
  const Tensor x = uniform({4, 3}, 1);
  EXPECT_EQ(doubles(model(x).value()), doubles(model.get<2>()(ops::gelu(model.get<0>()(x))).value()));
}

// ── What holds for every module ──

TEST(Modules, MoveAndKeepTheirWeights) {
  static_assert(Module<Linear> && Module<TransformerBlock> && Module<Sequential<Linear, Twice>>);
  static_assert(!Module<Twice>);
  TransformerBlock block(block_options());
  initialize(block, {.seed = 1, .dtype = DType::f64});
  const Tensor x = uniform({2, 4, 6}, 1);
  const std::vector<double> before = doubles(block(x).value());
  TransformerBlock moved(std::move(block));
  EXPECT_EQ(doubles(moved(x).value()), before);

  TransformerBlock copy(block_options());
  copy_weights(moved, copy);
  EXPECT_EQ(doubles(copy(x).value()), before);
  copy.norm_1.layer->weight.value().fill(2);
  EXPECT_EQ(doubles(moved(x).value()), before);
  Linear other({.in = 2, .out = 2});
  Linear another({.in = 3, .out = 2});
  initialize(other);
  expect_error([&] { copy_weights(other, another); }, "copy_weights: 'weight' is [2, 2] here and [2, 3] there");
}

// A 16-bit layer computes with the mirror of its weights.
TEST(Modules, CopiedWeightsReachTheMirrorOfAnArena) {
  Linear model({.in = 6, .out = 4}), copy({.in = 6, .out = 4});
  const ParameterArena arena_of_model(model, {.seed = 1, .mirror = DType::bf16});
  const ParameterArena arena(copy, {.seed = 2, .mirror = DType::bf16});
  const Tensor x = uniform({3, 6}, 1).to(DType::bf16);
  EXPECT_NE(doubles(copy(x).value()), doubles(model(x).value()));
  copy_weights(model, copy);
  EXPECT_EQ(doubles(copy(x).value()), doubles(model(x).value()));
}

// Layers that were initialised one by one have, in the model that they move into, names and places of their own.
TEST(Modules, LayersThatWereInitialisedBeforeTheModelKeepTheirWeights) {
  Linear first({.in = 3, .out = 3}), second({.in = 3, .out = 3});
  initialize(first, {.seed = 1});
  initialize(second, {.seed = 2});
  const std::vector<double> weights = doubles(second.weight.value());
  Sequential model(std::move(first), std::move(second));
  const ParameterArena arena(model, {});
  EXPECT_THAT(keys(model), ElementsAre("0.weight [3, 3]", "0.bias [3]", "1.weight [3, 3]", "1.bias [3]"));
  EXPECT_EQ(doubles(model.get<1>().weight.value()), weights);
}

TEST(Modules, InitialValuesDependOnSeedAndNameAlone) {
  const auto weights = [](uint64_t seed) {
    TransformerBlock block(block_options());
    const ParameterArena arena(block, {.seed = seed});
    return doubles(block.attention.to_q.weight.value());
  };
  TransformerBlock loose(block_options());
  initialize(loose, {.seed = 1});
  EXPECT_EQ(weights(1), doubles(loose.attention.to_q.weight.value()));
  EXPECT_NE(weights(1), weights(2));
  EXPECT_NE(weights(1), doubles(loose.attention.to_out.weight.value()));
}

// docs/mixed_precision.md: one layer of a float16 model that computes in float32.
TEST(Modules, ALayerThatIsHandedFloat32ComputesInFloat32) {
  Sequential model(Linear({.in = 6, .out = 6}), Linear({.in = 6, .out = 6}));
  const ParameterArena arena(model, {.seed = 1, .mirror = DType::f16});
  const Linear& layer = model.get<1>();
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(uniform({4, 6}, 1).to(DType::f16));
  Variable inside;
  const auto kept_wide = [&](const Variable& h) {
    inside = layer(ops::cast(h, DType::f32));
    return ops::cast(inside, h.dtype());
  };
  const Variable y = kept_wide(x);
  EXPECT_EQ(y.dtype(), DType::f16);
  const Tensor expected =
      ops::linear(x.value().to(DType::f32), Variable(layer.weight.value()), Variable(layer.bias.value())).value();
  EXPECT_EQ(doubles(inside.value()), doubles(expected));          // the master weights, nothing rounded
  EXPECT_NE(doubles(inside.value()), doubles(layer(x).value()));  // as in float16 it would be
  backward(y, Tensor::full(y.shape(), 1, DType::f16));
  EXPECT_EQ(x.gradient().dtype(), DType::f16);
  EXPECT_EQ(layer.weight.gradient().dtype(), DType::f32);
}

TEST(Modules, AParameterWithoutValuesSaysWhatToDo) {
  Linear layer({.in = 2, .out = 2});
  name_members(layer);
  expect_error(
      [&] {
        layer(Tensor::zeros({1, 2}, DType::f32));
      },
      "of shape [2] has no values yet; call initialize(model) first, or list it in its module's visit()");
  ParameterArena arena(layer, {});
  expect_error([&] { to(layer, {}); }, "to: parameter 'weight' lies in an arena");
}

}  // namespace
}  // namespace tessera
