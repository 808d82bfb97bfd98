#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/autograd/autograd.h"
#include "framework/ops.h"
#include "framework/parameters/arena.h"
#include "kernels/elementwise/scale.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// An op from user code: forward and backward in one function.
Variable times(const Variable& x, double factor) {
  const auto scaled = [factor](const Tensor& t) {
    Tensor y = empty_like(t);
    launch(Scale{.x = t.view({-1}).in<1>(), .factor = factor, .y = y.view({-1}).out<1>()}, exec_of(t.device()));
    return y;
  };
  return record(
      "times", scaled(x.value()), [scaled](const Tensor& dy, GradientSlot dx) { dx.add(scaled(dy)); }, x);
}

// Returns its gradient to both inputs by reference, as an addition does.
Variable plus(const Variable& a, const Variable& b) {
  Tensor y = a.value().contiguous_copy();
  for (int64_t i = 0; i < y.numel(); ++i) y.data<float>()[i] += b.value().data<float>()[i];
  return record(
      "plus", y,
      [](const Tensor& dy, GradientSlot da, GradientSlot db) {
        da.add(dy);
        db.add(dy);
      },
      a, b);
}

Tensor vector(std::vector<float> values) { return Tensor::from(values, {static_cast<int64_t>(values.size())}); }

struct Model {
  Parameter a{{2}, Init::ones()};
  Parameter b{{2}, Init::ones()};
  Parameter unused{{2}, Init::ones()};

  template <class Each>
  void visit(Each&& each) {
    each("a", a);
    each("b", b);
    each("unused", unused);
  }
};

TEST(Graph, AGradientReturnedTwiceIsNotAddedIntoItself) {
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(vector({1, 2}));
  const Variable y = plus(x, x);                    // both slots are x's
  backward(plus(times(y, 3), y), vector({1, 10}));  // dy reaches y twice, then x twice
  EXPECT_THAT(x.gradient().to_vector<float>(), ElementsAre(8, 80));
}

TEST(Graph, SharedGradientsAreCopiedBeforeTheyAreAddedInto) {
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(vector({1, 2}));
  const Variable z = pass.leaf(vector({3, 4}));
  const Tensor seed = vector({1, 1});
  backward(plus(plus(x, z), times(x, 5)), seed);
  EXPECT_THAT(x.gradient().to_vector<float>(), ElementsAre(6, 6));
  EXPECT_THAT(z.gradient().to_vector<float>(), ElementsAre(1, 1));
  EXPECT_THAT(seed.to_vector<float>(), ElementsAre(1, 1));
}

TEST(Graph, AWeightUsedTwiceIsAnnouncedOnceAfterItsLastContribution) {
  Model model;
  const ParameterArena arena(model, {});
  const Pass pass = Pass::recording({});
  std::vector<std::string> announced;
  pass.on_gradient_ready([&](ParameterState& parameter) {
    announced.push_back(parameter.name);
    if (parameter.name == "a") {
      EXPECT_THAT(parameter.gradient.to_vector<float>(), ElementsAre(3, 3));
    }
  });
  arena.begin_window();
  const Variable x = plus(pass.input(vector({0, 0})), model.a);
  backward(plus(times(plus(x, model.b), 2), model.a), vector({1, 1}));
  EXPECT_THAT(announced, ElementsAre("b", "a"));
}

TEST(Graph, AParameterThatGotNothingIsZeroAfterTheWindow) {
  Model model;
  const ParameterArena arena(model, {});
  arena.gradients().fill(7);
  arena.begin_window();
  const Pass pass = Pass::recording({});
  backward(plus(pass.input(vector({0, 0})), model.a), vector({1, 2}));
  arena.finish_window();
  EXPECT_THAT(model.a.gradient().to_vector<float>(), ElementsAre(1, 2));
  EXPECT_THAT(model.unused.gradient().to_vector<float>(), ElementsAre(0, 0));
}

TEST(Graph, GradientsAddUpOverTheMicroStepsOfAWindow) {
  Model model;
  const ParameterArena arena(model, {});
  arena.gradients().fill(7);
  for (int window = 0; window < 2; ++window) {
    arena.begin_window();
    for (int micro_step = 0; micro_step < 3; ++micro_step) {
      const Pass pass = Pass::recording({});
      backward(plus(pass.input(vector({0, 0})), model.a), vector({1, 2}));
    }
    arena.finish_window();
    EXPECT_THAT(model.a.gradient().to_vector<float>(), ElementsAre(3, 6));
  }
}

TEST(Graph, AGradientOfTheWrongDtypeIsRefusedByName) {
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(vector({1, 2}));
  const Variable y = record(
      "wrong", x.value(), [](const Tensor& dy, GradientSlot dx) { dx.add(dy.to(DType::bf16)); }, times(x, 1));
  try {
    backward(y, vector({1, 1}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("the output of times must be float32 [2], but a consumer returned bfloat16"));
  }
}

TEST(Graph, ASecondBackwardIsRefused) {
  const Pass pass = Pass::recording({});
  const Variable y = times(pass.leaf(vector({1})), 2);
  backward(y);
  expect_error([&] { backward(y); }, "backward: it already ran on this pass");
  expect_error([&] { backward(y); }, "so a second derivative is not available");
  expect_error([&] { backward(y); }, "to train on several losses, add them first");
  expect_error([&] { times(y, 2); }, "times: backward() already ran on this pass; make a new Pass for the next step");
}

TEST(Graph, HooksAreRefusedOnceBackwardHasBegun) {
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(vector({1}));
  const auto late = [&](const Tensor&) {
    const std::string refused = "on_gradient_ready: backward() already ran on this pass; make a new Pass";
    expect_error([&] { pass.on_gradient_ready([](ParameterState&) {}); }, refused);
    expect_error([&] { pass.on_gradient_ready(x, [](const Tensor&) {}); }, refused);
  };
  pass.on_gradient_ready(x, late);
  backward(times(x, 2));
  late({});
}

TEST(Graph, TheHookOfALeafThatDiedIsNotThatOfTheNextOne) {
  const Pass pass = Pass::recording({});
  const auto fail = [](const Tensor&) { FAIL(); };
  for (int i = 0; i < 9; ++i) pass.on_gradient_ready(pass.leaf(Tensor::empty({1}, DType::f32)), fail);
  backward(times(pass.leaf(vector({1})), 2));
}

TEST(Graph, InferenceRecordsNothing) {
  const Pass pass = Pass::inference();
  const Variable y = times(pass.input(vector({1})), 2);
  EXPECT_EQ(y.slot(), nullptr);
  EXPECT_THROW(backward(y), Error);
  const Pass recording = Pass::recording({});
  times(recording.input(vector({1})), 2);  // no input wants a gradient
  EXPECT_EQ(recording.graph()->size(), 0u);
}

TEST(Graph, ActivationsOfTwoPassesDoNotMix) {
  const Variable x = Pass::recording({}).leaf(vector({1}));
  const Variable y = Pass::recording({}).leaf(vector({1}));
  EXPECT_THROW(plus(x, y), Error);
  EXPECT_NO_THROW(plus(x, Variable(y.value())));
}

// An op of parameters alone has no tape to be on. What is made of its result must not train without it in silence.
TEST(Graph, AWeightComputedOutsideOfThePassIsRefused) {
  Model model;
  const ParameterArena arena(model, {});
  const Variable outside = times(times(model.a, 2), 2);
  const Pass pass = Pass::recording({});
  const Variable x = pass.input(vector({1, 2}));
  const auto message = [&](auto use) {
    try {
      use();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(message([&] { plus(x, outside); }), HasSubstr("plus: an input was computed from the parameter 'a'"));
  EXPECT_THAT(message([&] { ops::concat(std::vector{x, outside}, 0); }), HasSubstr("concat: an input was computed"));
  EXPECT_EQ(message([&] { plus(x, outside.detach()); }), "");
  EXPECT_EQ(message([&] { plus(Pass::inference().input(x.value()), outside); }), "");
  Model frozen;
  frozen.a.set_trainable(false);
  initialize(frozen);
  EXPECT_EQ(message([&] { plus(x, times(frozen.a, 2)); }), "");
}

TEST(Graph, AWeightComputedFromParametersOfThePassGetsItsGradient) {
  Model model;
  const ParameterArena arena(model, {});
  arena.begin_window();
  const Pass pass = Pass::recording({});
  const Variable weight = plus(times(pass.parameter(model.a), 3), model.b);
  backward(plus(pass.input(vector({1, 2})), weight), vector({1, 10}));
  EXPECT_THAT(Variable(model.a).gradient().to_vector<float>(), ElementsAre(3, 30));
  EXPECT_THAT(Variable(model.b).gradient().to_vector<float>(), ElementsAre(1, 10));
}

TEST(Graph, WhatIsNoPassOrNoTensorSaysSo) {
  const Pass none;
  expect_error([&] { (void)none.key(1); }, "pass: this is no pass; make one with Pass::recording or Pass::inference");
  expect_error([&] { (void)none.with_new_tape(); }, "pass: this is no pass");
  expect_error([&] { (void)none.options(); }, "pass: this is no pass");
  EXPECT_EQ(none, Pass());
  EXPECT_NE(none, Pass::inference());
  expect_error([] { (void)Pass::recording({}).leaf(Tensor()); }, "leaf: the tensor is undefined");
  expect_error([] { (void)Pass::inference().input(Tensor()); }, "input: the tensor is undefined");
  const Variable x = Pass::inference().input(vector({1, 2}));
  expect_error([&] { ops::add(x, Variable()); }, "undefined");
  expect_error([&] { ops::mul(Variable(), x); }, "undefined");
  expect_error([&] { ops::sum(Variable()); }, "undefined");
}

// add(op(x), x): the gradient that the op is handed is x's too.
TEST(Graph, AGradientIsUniqueOnlyWhereNobodyElseHoldsIt) {
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(vector({1, 2}));
  std::vector<bool> unique;
  const auto op = [&] {
    return record(
        "op", x.value().contiguous_copy(),
        [&](const Tensor& dy, GradientSlot dx) {
          unique.push_back(dy.unique());
          dx.add(times(dy, 1).value());
        },
        x);
  };
  const Variable alone = times(op(), 1), beside = plus(op(), x);
  backward(plus(alone, beside), vector({1, 1}));
  EXPECT_THAT(unique, ElementsAre(false, true));
}

TEST(Graph, HooksAreCalledInTheOrderInWhichTheyCame) {
  Model model;
  const ParameterArena arena(model, {});
  const Pass pass = Pass::recording({});
  std::vector<int> called;
  for (const int hook : {1, 2}) pass.on_gradient_ready([&called, hook](ParameterState&) { called.push_back(hook); });
  backward(plus(pass.input(vector({0, 0})), model.a), vector({1, 1}));
  EXPECT_THAT(called, ElementsAre(1, 2));
}

TEST(Graph, ALeafsHooksGetItsWholeGradientOnce) {
  Model model;
  const ParameterArena arena(model, {});
  arena.begin_window();
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(vector({1, 2})), unhooked = pass.leaf(vector({0, 0}));
  std::vector<float> seen;
  const auto see = [&](const Tensor& gradient) { seen.push_back(gradient.to_vector<float>()[1]); };
  for (const Variable& leaf : {x, x, Variable(model.a)}) pass.on_gradient_ready(leaf, see);
  const std::string refused = "on_gradient_ready: only leaves of this pass and trainable parameters have hooks";
  expect_error([&] { Pass::recording({}).on_gradient_ready(x, see); }, refused);
  expect_error([&] { pass.on_gradient_ready(times(x, 2), see); }, refused);
  expect_error([&] { pass.on_gradient_ready(vector({1}), see); }, refused);

  backward(plus(times(plus(plus(x, unhooked), model.a), 3), x), vector({1, 10}));
  EXPECT_THAT(seen, ElementsAre(30, 40, 40));  // a's last contribution comes before x's
}

TEST(Graph, ConsumersSaveTheRecipeInsteadOfTheValue) {
  int runs = 0;
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(vector({1, 2}));
  const Variable y = times(x, 2).recomputed_by([&runs, x = x.value()] {
    ++runs;
    return x;
  });
  EXPECT_EQ(runs, 0);
  y.saved().get();
  EXPECT_EQ(runs, 1);
}

TEST(Graph, BackwardFreesWhatWasSavedAsItGoes) {
  const Pass pass = Pass::recording({});
  Tensor saved = vector({1, 2, 3});
  Variable y = record(
      "keeper", vector({1}), [saved](const Tensor&, GradientSlot) {}, pass.leaf(vector({1})));
  EXPECT_FALSE(saved.unique());
  backward(y);
  EXPECT_TRUE(saved.unique());
}

}  // namespace
}  // namespace tessera
