#include "framework/autograd/gradcheck.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/ops.h"
#include "framework/parameters/arena.h"
#include "kernels/elementwise/scale.h"
#include "tests/framework/ops/op_check.h"

namespace tessera {
namespace {

using testing::HasSubstr;

struct Model {
  Parameter a{{2}, Init::ones()};

  template <class Each>
  void visit(Each&& each) {
    each("a", a);
  }
};

TEST(Gradcheck, WantsFloat64BeforeAnythingElse) {
  const auto never = [](std::span<const Variable>) -> Variable { throw std::logic_error("was called"); };
  expect_error([&] { gradcheck(never, {{Tensor::full({2}, 1, DType::f32)}}); },
               "gradcheck: input 0 is float32 [2]; it must be contiguous float64 on the CPU");
  Model model;
  const ParameterArena arena(model, {});
  const auto all = parameters(model);
  expect_error([&] { gradcheck([&](const Pass&) { return Variable(model.a); }, all); },
               "gradcheck: parameter 'a' is float32 [2]; it must be");
}

TEST(Gradcheck, FindsAWrongFactor) {
  const auto wrong = [](std::span<const Variable> x) {
    return record(
        "wrong", x[0].value(),
        [](const Tensor& dy, GradientSlot dx) {
          const Tensor twice = empty_like(dy);
          launch(Scale{.x = dy.in<1>(), .factor = 1.001, .y = twice.out<1>()}, exec_of(dy.device()));
          dx.add(twice);
        },
        x[0]);
  };
  const Tensor point = Tensor::from(std::vector<double>{0.3, -2}, {2});
  const GradcheckResult result = gradcheck(wrong, {{point}});
  EXPECT_FALSE(result.ok);
  EXPECT_THAT(result.message, HasSubstr("input 0, element 0"));
  EXPECT_TRUE(gradcheck([](std::span<const Variable> x) { return ops::scale(x[0], -3); }, {{point}}).ok);
}

TEST(Gradcheck, FindsAGradientThatIsNotFinite) {
  for (const double value : {HUGE_VAL, -HUGE_VAL, std::nan("")}) {
    const auto wrong = [&](std::span<const Variable> x) {
      const auto backward = [=](const Tensor& dy, GradientSlot dx) {
        dx.add(Tensor::full(dy.shape(), value, DType::f64));
      };
      return record("wrong", x[0].value(), backward, x[0]);
    };
    EXPECT_FALSE(gradcheck(wrong, {{Tensor::full({2}, 1, DType::f64)}}).ok) << value;
  }
}

}  // namespace
}  // namespace tessera
