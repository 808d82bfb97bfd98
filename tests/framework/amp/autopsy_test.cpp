#include "framework/amp/autopsy.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/ops.h"
#include "modules/feed_forward.h"

namespace tessera {
namespace {

using testing::HasSubstr;

struct Model {
  FeedForward first{{.dim = 4}};
  FeedForward second{{.dim = 4}};

  template <class Each>
  void visit(Each&& each) {
    each("first", first);
    each("second", second);
  }
  Variable operator()(const Variable& x) const { return second(first(x)); }
};

std::optional<Finding> examine(const Model& model, double input, double scale) {
  Autopsy autopsy;
  const Pass pass = autopsy.watch(Pass::recording({}));
  backward(ops::sum(model(pass.leaf(Tensor::full({2, 4}, input, DType::f32)))), scale);
  return autopsy.finding();
}

TEST(Autopsy, FindsNothingInAHealthyPass) {
  Model model;
  initialize(model);
  EXPECT_FALSE(examine(model, 1, 1).has_value());
}

TEST(Autopsy, NamesTheLayerWhoseForwardWentBad) {
  Model model;
  initialize(model);
  model.second.up.weight.value().slice(0, 3, 4).view({4}).fill(std::numeric_limits<double>::infinity());
  const std::optional<Finding> finding = examine(model, 1, 1);
  ASSERT_TRUE(finding.has_value());
  EXPECT_EQ(finding->phase, "forward");
  EXPECT_EQ(finding->op, "linear");
  EXPECT_EQ(finding->layer, "second.up");
  EXPECT_EQ(finding->bad, 2);
  EXPECT_THAT(finding->describe(), HasSubstr("in forward, in op linear of layer second.up: 2 of 32 elements"));
}

TEST(Autopsy, NamesTheOpWhoseBackwardWentBad) {
  Model model;
  initialize(model);
  const std::optional<Finding> finding = examine(model, 1, std::numeric_limits<double>::max());
  ASSERT_TRUE(finding.has_value());
  EXPECT_EQ(finding->phase, "backward");
  EXPECT_EQ(finding->op, "sum");
  model.second.down.weight.value().fill(1e30);
  const std::optional<Finding> later = examine(model, 1, 1e20);
  ASSERT_TRUE(later.has_value());
  EXPECT_EQ(later->phase, "backward");
  EXPECT_EQ(later->layer, "second.down");
}

// Two finite gradients whose sum is not: no rank's own pass shows anything.
TEST(Autopsy, NamesTheGradientThatTheSumOverRanksSpoiled) {
  Model model;
  const ParameterArena arena(model, {});
  EXPECT_FALSE(find_in_reduced(arena).has_value());
  model.second.up.weight.gradient().fill(3e38);
  EXPECT_FALSE(find_in_reduced(arena).has_value());
  arena.gradients().copy_from(ops::add(arena.gradients(), arena.gradients()).value());
  const std::optional<Finding> finding = find_in_reduced(arena);
  ASSERT_TRUE(finding.has_value());
  EXPECT_EQ(finding->phase, "reduce");
  EXPECT_EQ(finding->layer, "second.up");
  EXPECT_EQ(finding->bad, model.second.up.weight.shape().numel());
}

}  // namespace
}  // namespace tessera
