#include <set>

#include <gtest/gtest.h>

#include "framework/ops.h"
#include "framework/parameters/arena.h"
#include "framework/tensor/allocator.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

// A small block that draws random numbers and uses one weight twice.
struct Block {
  Parameter up{{12, 6}, Init::normal(0.5)};
  Parameter down{{6, 12}, Init::normal(0.5)};
  Parameter gain{{6}, Init::ones()};
  Site site;

  template <class Each>
  void visit(Each&& each) {
    each("up", up);
    each("down", down);
    each("gain", gain);
    each("site", site);
  }

  Variable operator()(const Variable& x) const {
    const Variable h = ops::linear(ops::rms_norm(x, gain), up, {}, {.activation = Activation::gelu_exact});
    const Variable y = ops::dropout(ops::linear(h, down), 0.3, site, x);
    return ops::mul(ops::dropout(y, 0.2, site), gain);
  }
};

struct Outcome {
  std::vector<double> y, dx, gradients;
  std::vector<std::string> announced;
};

class Recompute : public testing::Test {
 protected:
  Recompute() : arena_(block_, {.seed = 5}) {}

  // Two micro-steps through two of the same block, one inside the other if `nested`.
  Outcome run(bool recompute, bool nested = false) const {
    const auto owned = parameters(block_);
    const auto block = [this](const Variable& x) { return block_(x); };
    const auto once = [&, block](const Variable& x) { return recompute ? ops::recompute(block, x, owned) : block(x); };
    const auto twice = [once](const Variable& x) { return once(once(x)); };
    Outcome outcome;
    arena_.begin_window();
    for (int64_t micro_step = 0; micro_step < 2; ++micro_step) {
      const Pass pass = Pass::recording({.iteration = 7, .seed = 3, .first_sample = micro_step});
      outcome.announced.clear();
      pass.on_gradient_ready([&](const ParameterState& parameter) { outcome.announced.push_back(parameter.name); });
      const Variable x = pass.leaf(x_);
      const Variable y = nested ? ops::recompute(twice, x, owned) : twice(x);
      backward(y, dy_);
      outcome.y = doubles(y.value());
      outcome.dx = doubles(x.gradient());
    }
    arena_.finish_window();
    outcome.gradients = doubles(arena_.gradients());
    return outcome;
  }

  Block block_;
  ParameterArena arena_;
  const Tensor x_ = uniform({2, 5, 6}, 1).to(DType::f32), dy_ = uniform({2, 5, 6}, 2).to(DType::f32);
};

TEST_F(Recompute, GivesTheSameBits) {
  const Outcome kept = run(false);
  for (const bool nested : {false, true}) {
    const Outcome again = run(true, nested);
    EXPECT_EQ(again.y, kept.y);
    EXPECT_EQ(again.dx, kept.dx);
    EXPECT_EQ(again.gradients, kept.gradients);
  }
}

TEST_F(Recompute, AnnouncesEachParameterOnceAfterItsLastContribution) {
  const std::vector<std::string> announced = run(true).announced;
  EXPECT_EQ(announced.size(), 3u);
  EXPECT_EQ(std::set<std::string>(announced.begin(), announced.end()), (std::set<std::string>{"up", "down", "gain"}));
}

TEST_F(Recompute, KeepsNothingButTheInput) {
  const Tensor x = uniform({64, 64, 6}, 1).to(DType::f32);
  const auto kept_bytes = [&](bool recompute) {
    const int64_t before = allocator_stats({}).bytes_in_use;
    const Pass pass = Pass::recording({});
    const auto block = [this](const Variable& input) { return block_(input); };
    const Variable y = recompute ? ops::recompute(block, pass.input(x), parameters(block_)) : block_(pass.input(x));
    return allocator_stats({}).bytes_in_use - before - y.value().nbytes();
  };
  EXPECT_LE(kept_bytes(true), 4096);
  EXPECT_GT(kept_bytes(false), x.nbytes());
}

struct Table {
  Parameter weight{{9, 6}, Init::normal(1)};

  template <class Each>
  void visit(Each&& each) {
    each("weight", weight);
  }
};

TEST(RecomputeOfTokenIds, GivesTheSameBits) {
  Table table;
  initialize(table, {.seed = 2});
  const Tensor ids = Tensor::from(std::vector<int32_t>{3, 8, 3, 0}, {2, 2}), dy = uniform({2, 2, 6}, 1).to(DType::f32);
  const auto block = [&](const Variable& x) { return ops::scale(ops::embedding(table.weight, x), 2); };
  const auto gradient = [&](bool recompute) {
    table.weight.state()->gradient_written = false;
    const Variable x = Pass::recording({}).input(ids);
    backward(recompute ? ops::recompute(block, x, parameters(table)) : block(x), dy);
    return doubles(table.weight.gradient());
  };
  EXPECT_EQ(gradient(true), gradient(false));
  table.weight.set_trainable(false);
  const Variable x = Pass::recording({}).input(ids);
  EXPECT_NO_THROW(backward(ops::recompute(block, x, parameters(table)), dy));
}

TEST_F(Recompute, AnInputWithoutGradientAndAPassWithoutTape) {
  const Pass pass = Pass::recording({.iteration = 7, .seed = 3});
  const auto block = [this](const Variable& x) { return block_(x); };
  arena_.begin_window();
  backward(ops::recompute(block, pass.input(x_), parameters(block_)), dy_);
  arena_.finish_window();
  const std::vector<double> gradients = doubles(arena_.gradients());
  arena_.begin_window();
  const Pass plain = Pass::recording({.iteration = 7, .seed = 3});
  backward(block_(plain.input(x_)), dy_);
  EXPECT_EQ(gradients, doubles(arena_.gradients()));
  EXPECT_EQ(doubles(ops::recompute(block, Pass::inference().input(x_), parameters(block_)).value()),
            doubles(block_(Pass::inference().input(x_)).value()));
}

TEST_F(Recompute, ABlockThatUsesAnotherActivationSaysWhatToDo) {
  const Pass pass = Pass::recording({});
  const Variable x = pass.leaf(x_), other = ops::scale(x, 2);
  const auto block = [&](const Variable& input) { return ops::add(input, other); };
  expect_error([&] { ops::recompute(block, x, {}); }, "inside recompute, pass it through the block's argument");
}

}  // namespace
}  // namespace tessera
