#include "framework/parameters/arena.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/ops.h"
#include "framework/optim/optimizer.h"
#include "tests/framework/ops/op_check.h"
#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Layer {
  explicit Layer(int64_t n) : weight({n, n}, Init::normal(1)), bias({n}, Init::uniform(1)) {}
  Parameter weight;
  Parameter bias;
  Site site;

  template <class Each>
  void visit(Each&& each) {
    each("weight", weight);
    each("bias", bias);
    each("site", site);
  }
};

struct Model {
  Model() {
    layers.emplace_back(3);
    layers.emplace_back(5);
    tied = layers[0].weight.share();
  }
  std::vector<Layer> layers;
  Parameter tied;
  Parameter absent;

  template <class Each>
  void visit(Each&& each) {
    each("layers", layers);
    each("tied", tied);
    each("absent", absent);
  }
};

std::vector<std::string> names(const ParameterArena& arena) {
  std::vector<std::string> all;
  for (const ParameterArena::Entry& entry : arena.entries()) all.push_back(entry.parameter->name);
  return all;
}

TEST(Arena, MatricesInReverseOrderThenVectorsTiedOnce) {
  Model model;
  const ParameterArena arena(model, {});
  EXPECT_THAT(names(arena), ElementsAre("layers.1.weight", "layers.0.weight", "layers.1.bias", "layers.0.bias"));
  for (const ParameterArena::Entry& entry : arena.entries()) EXPECT_EQ(entry.begin * 4 % 256, 0);
  EXPECT_EQ(arena.matrices_end(), arena.entries()[2].begin);
  EXPECT_EQ(parameter_count(model), 9 + 3 + 25 + 5);
}

TEST(Arena, HandlesFollowIntoTheBuffers) {
  Model model;
  const ParameterArena arena(model, {.mirror = DType::bf16});
  EXPECT_TRUE(model.tied.value().shares_memory_with(arena.weights()));
  arena.weights().fill(2);
  EXPECT_EQ(model.layers[0].bias.value().to_vector<float>(), std::vector<float>(3, 2.0f));
  arena.refresh_mirror();
  EXPECT_EQ(model.tied.state()->mirror.to(DType::f32).to_vector<float>(), std::vector<float>(9, 2.0f));
}

TEST(Arena, KeepsPartOfTheMasters) {
  Model model;
  ParameterArena arena(model, {.mirror = DType::bf16});
  const std::vector<float> weights = arena.weights().to_vector<float>();
  const std::vector<float> rounded = arena.mirror().to(DType::f32).to_vector<float>();
  arena.keep_masters({{2, 4}, {arena.matrices_end(), arena.matrices_end() + 1}});
  const auto first_vector = static_cast<size_t>(arena.matrices_end());
  EXPECT_THAT(arena.masters().to_vector<float>(), ElementsAre(weights[2], weights[3], weights[first_vector]));
  EXPECT_EQ(arena.weights().to(DType::f32).to_vector<float>(), rounded);
  EXPECT_TRUE(model.tied.value().shares_memory_with(arena.weights()));
  EXPECT_FALSE(arena.mirror().defined());

  Model plain;
  ParameterArena without_copy(plain, {});
  EXPECT_THROW(without_copy.keep_masters({{0, 1}}), Error);
}

TEST(Arena, FirstValuesDependOnSeedAndNameAlone) {
  Model first;
  Model second;
  Model third;
  const ParameterArena a(first, {.seed = 1});
  initialize(second, {.seed = 1});
  const ParameterArena c(third, {.seed = 2});
  EXPECT_EQ(first.layers[1].weight.value().to_vector<float>(), second.layers[1].weight.value().to_vector<float>());
  EXPECT_NE(first.layers[1].weight.value().to_vector<float>(), third.layers[1].weight.value().to_vector<float>());
  EXPECT_NE(first.layers[0].site.hash, first.layers[1].site.hash);
}

TEST(Arena, ASecondArenaOverTheSameParametersIsRefused) {
  Model model;
  const ParameterArena arena(model, {});
  EXPECT_THROW(ParameterArena(model, {}), Error);
  EXPECT_THROW(ParameterArena(model, {.dtype = DType::bf16}), Error);
}

TEST(Arena, AnotherOneMayFollowWithAThawedLayer) {
  Model model;
  model.layers[0].weight.set_trainable(false);
  const Parameter& trained = model.layers[1].weight;
  {
    const ParameterArena first(model, {.mirror = DType::bf16});
    trained.value().fill(3);  // the mirror is the old one still, as after an update by hand
    trained.gradient().fill(7);
  }
  EXPECT_FALSE(trained.gradient().defined());
  EXPECT_EQ(Variable(trained).value_as(DType::bf16).to(DType::f32).to_vector<float>(), std::vector<float>(25, 3.0f));
  const std::vector<float> frozen = model.tied.value().to_vector<float>();
  model.layers[0].weight.set_trainable(true);
  const ParameterArena second(model, {});
  EXPECT_THAT(names(second), ElementsAre("layers.1.weight", "layers.0.weight", "layers.1.bias", "layers.0.bias"));
  EXPECT_EQ(trained.value().to_vector<float>(), std::vector<float>(25, 3.0f));
  EXPECT_EQ(model.tied.value().to_vector<float>(), frozen);
  EXPECT_TRUE(model.tied.value().shares_memory_with(second.weights()));
}

// Every one of them counts: the one that goes must not let go of what another keeps.
TEST(Arena, AFrozenParameterOfTwoStaysWithTheOtherOne) {
  Model model;
  for (Layer& layer : model.layers) {
    layer.weight.set_trainable(false);
    layer.bias.set_trainable(false);
  }
  const ParameterArena kept(model, {});
  { const ParameterArena passing(model, {}); }
  EXPECT_THAT(message_of([&] { model.tied.set_trainable(true); }), HasSubstr("laid out by an arena already"));
}

// Each keeps the arena's address.
static_assert(!std::is_move_constructible_v<ParameterArena>);
static_assert(!std::is_constructible_v<Optimizer, ParameterArena, AdamW::Options>);
static_assert(!std::is_constructible_v<Optimizer, ParameterArena, Sgd::Options>);
static_assert(!std::is_constructible_v<AdamW, ParameterArena, AdamW::Options>);
static_assert(!std::is_constructible_v<Sgd, ParameterArena, Sgd::Options>);

// What two layers had as roots of their own, they have not in the model that they moved into.
TEST(Arena, NamesArePathsInTheModelThatWasNamedLast) {
  Model model;
  initialize(model.layers[0]);
  initialize(model.layers[1]);
  const uint64_t alone = model.layers[0].site.hash;
  const ParameterArena arena(model, {});
  EXPECT_THAT(names(arena), ElementsAre("layers.1.weight", "layers.0.weight", "layers.1.bias", "layers.0.bias"));
  EXPECT_NE(model.layers[0].site.hash, alone);
  name_members(model.layers[0]);  // in an arena they stay
  EXPECT_EQ(model.layers[0].weight.name(), "layers.0.weight");
}

// Two layers, under what the test calls them.
struct Pair {
  const char* first_name;
  const char* second_name;
  Layer first{2};
  Layer second{2};

  template <class Each>
  void visit(Each&& each) {
    each(first_name, first);
    each(second_name, second);
  }
};

TEST(Arena, EveryParameterNeedsANameOfItsOwn) {
  Pair same{"linear", "linear"};
  for (const auto& use : {+[](Pair& pair) { initialize(pair); }, +[](Pair& pair) { ParameterArena(pair, {}); }}) {
    EXPECT_THAT(message_of([&] { use(same); }), HasSubstr("two members of the model are named 'linear.weight'; give"));
  }
  Layer first(2), second(2);
  const std::vector<ParameterPtr> weights{first.weight.state(), second.weight.state()};
  EXPECT_THAT(message_of([&] { ParameterArena(weights, {}); }),
              HasSubstr("arena: a parameter of shape [2, 2] has no name; call name_members(model)"));
  initialize(first);
  initialize(second);
  EXPECT_THAT(message_of([&] { ParameterArena(weights, {}); }),
              HasSubstr("arena: two parameters are named 'weight', or one is listed twice; call name_members(model)"));
  EXPECT_EQ(weights[0]->arenas, 0);
}

struct Dropouts {
  Site first, second;

  template <class Each>
  void visit(Each&& each) {
    each("dropout", first);
    each("dropout", second);
  }
};

TEST(Arena, EverySiteNeedsANameOfItsOwn) {
  Dropouts model;
  EXPECT_THAT(message_of([&] { name_members(model); }), HasSubstr("two members of the model are named 'dropout'"));
}

TEST(Arena, KeepsTheValuesThatAreThereAndDrawsTheOthers) {
  Model model, drawn;
  initialize(drawn, {.seed = 1});
  initialize(model.layers[0], {.seed = 7, .dtype = DType::f64});
  model.layers[0].bias.set_trainable(false);
  model.layers[0].weight.value().fill(0.1);
  model.layers[0].bias.value().fill(3);
  const ParameterArena arena(model, {.seed = 1, .mirror = DType::bf16});
  EXPECT_EQ(model.tied.value().to_vector<float>(), std::vector<float>(9, 0.1f));
  EXPECT_EQ(model.tied.state()->mirror.to_vector<BFloat16>()[0].bits, BFloat16(0.1f).bits);
  EXPECT_EQ(model.layers[0].bias.value().to_vector<float>(), std::vector<float>(3, 3.0f));
  EXPECT_EQ(model.layers[1].weight.value().to_vector<float>(), drawn.layers[1].weight.value().to_vector<float>());
}

// Memory of its own would leave the arena with weights that nobody uses.
TEST(Arena, InitializeIsRefusedAfterwards) {
  Model model;
  const ParameterArena arena(model, {});
  EXPECT_THAT(message_of([&] { initialize(model); }),
              HasSubstr("initialize: parameter 'layers.0.weight' lies in an arena"));
  EXPECT_TRUE(model.tied.value().shares_memory_with(arena.weights()));
}

TEST(Arena, FreezingIsRefusedAfterwards) {
  Model model;
  model.layers[0].weight.set_trainable(false);
  const ParameterArena arena(model, {});
  EXPECT_THAT(message_of([&] { model.layers[1].weight.set_trainable(false); }),
              HasSubstr("set_trainable: parameter 'layers.1.weight' was laid out by an arena already; freeze or thaw"));
  EXPECT_THAT(message_of([&] { model.tied.set_trainable(true); }), HasSubstr("parameter 'layers.0.weight'"));
  EXPECT_TRUE(model.layers[1].weight.state()->trainable);
  EXPECT_THAT(message_of([&] { model.absent.set_trainable(false); }), HasSubstr("no such parameter"));
}

TEST(Arena, FrozenParametersLieOutside) {
  Model model;
  model.layers[0].weight.set_trainable(false);
  const ParameterArena arena(model, {});
  EXPECT_THAT(names(arena), ElementsAre("layers.1.weight", "layers.1.bias", "layers.0.bias"));
  EXPECT_FALSE(model.tied.value().shares_memory_with(arena.weights()));
  EXPECT_EQ(arena.frozen().size(), 1u);
}

// Without masters an op returns a gradient as narrow as the weight, and the arena adds it up in its own dtype.
TEST(Arena, WidensTheGradientsOfWeightsWithoutMasters) {
  Model model;
  const ParameterArena arena(model, {.mirror = DType::bf16, .master_weights = false});
  const Parameter& weight = model.layers[1].weight;
  arena.begin_window();
  for (const double factor : {3.0, 0x1p-10}) {
    const Variable x = Pass::recording({}).input(Tensor::full({5, 5}, factor, DType::bf16));
    backward(ops::sum(ops::mul(x, weight)));
  }
  EXPECT_EQ(weight.gradient().to_vector<float>(), std::vector<float>(25, 3 + 0x1p-10f));
  const auto wrong = [](const Tensor& dy, GradientSlot dx) { dx.add(dy.to(DType::f16)); };
  const Variable w = Pass::recording({}).parameter(weight);
  expect_error([&] { backward(ops::sum(record("wrong", w.value(), wrong, w))); },
               "parameter must be float32 [5, 5], but a consumer returned float16");
}

TEST(Parameter, AbsentSaysSo) {
  const Parameter absent;
  const char* const message = "parameter: this module has no such parameter";
  expect_error([&] { (void)absent.value(); }, message);
  expect_error([&] { (void)absent.name(); }, message);
  expect_error([&] { (void)absent.shape(); }, message);
  expect_error([&] { (void)absent.gradient(); }, message);
  expect_error([&] { absent.set_trainable(false); }, message);
}

TEST(Parameter, WithoutValuesSaysWhatToDo) {
  const Parameter parameter({2}, Init::zeros());
  EXPECT_THAT(message_of([&] { parameter.value(); }),
              HasSubstr("call initialize(model) first, or list it in its module's visit()"));
}

}  // namespace
}  // namespace tessera
