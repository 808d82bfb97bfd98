// What is saved, and how a checkpoint answers what it cannot. Whole trainings are saved in tests/trainers.
#include "framework/io/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

struct Model {
  Parameter weight{{2, 3}, Init::normal(1)};
  Parameter bias{{3}, Init::normal(1)};

  template <class Each>
  void visit(Each&& each) {
    each("weight", weight);
    each("bias", bias);
  }
};

struct CheckpointTest : testing::Test {
  /// Saves the arena, and moments that count up.
  std::filesystem::path save(const ParameterArena& arena) const {
    const Tensor moments = Tensor::zeros({arena.size()}, DType::f32);
    for (int64_t i = 0; i < moments.numel(); ++i) moments.slice(0, i, i + 1).fill(static_cast<double>(i));
    CheckpointStore(folder_.path(), 0)
        .save(arena, arena.weights(), {{"moments", moments}}, {}, {{"epoch", 3}, {"note", "first"}});
    return *CheckpointStore(folder_.path(), 0).latest();
  }

  TemporaryFolder folder_;
};

TEST_F(CheckpointTest, NoOwnedRangesMeanAllOfTheOptimizer) {
  Model model;
  const ParameterArena arena(model, {});
  const std::filesystem::path saved = save(arena);
  const Tensor moments = Tensor::zeros({arena.size()}, DType::f32);
  load_optimizer(saved, arena, {{"moments", moments}}, {});
  for (const ParameterArena::Entry& entry : arena.entries()) {
    for (int64_t i = entry.begin; i < entry.end; ++i) EXPECT_EQ(moments.slice(0, i, i + 1).to_vector<float>()[0], i);
  }
}

// PyTorch's order: the weights first, then what trains them.
TEST_F(CheckpointTest, AnArenaKeepsWhatWasLoadedBefore) {
  Model model, fresh;
  const ParameterArena arena(model, {.seed = 1});
  const std::filesystem::path saved = save(arena);
  initialize(fresh, {.seed = 2});
  load_model(saved, parameters(fresh));
  const ParameterArena again(fresh, {.seed = 3});
  EXPECT_EQ(again.weights().to_vector<float>(), arena.weights().to_vector<float>());
}

TEST_F(CheckpointTest, LoadingIntoPartOfAnArenaWritesItsMirror) {
  Model model, other;
  const std::filesystem::path saved = save(ParameterArena(model, {.seed = 1}));
  const ParameterArena arena(other, {.seed = 2, .mirror = DType::bf16});
  load_model(saved, parameters(other));
  EXPECT_EQ(other.weight.state()->mirror.to(DType::f32).to_vector<float>(),
            model.weight.value().to(DType::bf16).to(DType::f32).to_vector<float>());
}

TEST_F(CheckpointTest, ParametersOfOneNameOrNoneAreRefused) {
  Model model, first, second;
  const std::filesystem::path saved = save(ParameterArena(model, {}));
  const std::vector<ParameterPtr> both{first.weight.state(), second.weight.state()};
  EXPECT_THAT(message_of([&] { load_model(saved, both); }), HasSubstr("a parameter of shape [2, 3] has no name; call"));
  initialize(first);
  initialize(second);
  EXPECT_THAT(message_of([&] { load_model(saved, both); }), HasSubstr("two parameters are named 'weight'"));
}

TEST_F(CheckpointTest, AModelWithoutValuesIsAskedForThem) {
  Model model, empty;
  const std::filesystem::path saved = save(ParameterArena(model, {}));
  name_members(empty);
  EXPECT_THAT(message_of([&] { load_model(saved, parameters(empty)); }),
              HasSubstr("parameter 'weight' of shape [2, 3] has no values yet; call initialize(model) first"));
}

TEST_F(CheckpointTest, AskingForWhatWasNotSavedBlamesNoFile) {
  Model model;
  const CheckpointState state = load_state(save(ParameterArena(model, {})));
  EXPECT_EQ(state.integer_at("epoch"), 3);
  EXPECT_EQ(state.text_at("note"), "first");
  EXPECT_THAT(message_of([&] { state.at("best_loss"); }),
              AllOf(HasSubstr("it holds no value 'best_loss'; ask for one of those that it holds: epoch, note"),
                    Not(HasSubstr("damaged")), Not(HasSubstr("remove"))));
  EXPECT_THAT(message_of([&] { state.text_at("epoch"); }),
              AllOf(HasSubstr("epoch is of type number, string is wanted; read it with at()"),
                    Not(HasSubstr("damaged")), Not(HasSubstr("remove"))));
}

TEST_F(CheckpointTest, WhatIsNoJsonIsDamaged) {
  const CheckpointState state{.step = {}, .text = "{\"epoch\"", .path = "state.json"};
  EXPECT_THAT(message_of([&] { state.at("epoch"); }), HasSubstr("state.json: it is damaged: "));
}

}  // namespace
}  // namespace tessera
