#include "kernels/sgd/sgd.h"

#include <gtest/gtest.h>

#include "tests/kernels/array.h"

namespace tessera {
namespace {

constexpr double kDecay = 0.1, kMomentum = 0.9;

TEST(Sgd, FollowsTheDoubleReferenceOverSteps) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const bool with_momentum : {false, true}) {
      const int64_t n = 20011;
      Array weight = Array::random(dtype, {n}, 1);
      Array velocity(dtype, {n});
      Array mirror(DType::f16, {n});
      std::vector<double> w = weight.values(), u(n);
      StepState state;
      state.gradient_factor = 0.25f;
      for (int step = 1; step <= 5; ++step) {
        state.learning_rate = 0.1f / step;
        const Array gradient = Array::random(dtype, {n}, 10 + step);
        run_on_test_device(SgdStep{.weight = weight.out<1>(),
                                   .velocity = with_momentum ? velocity.out<1>() : Out<1>{},
                                   .gradient = gradient.in<1>(),
                                   .mirror = mirror.out<1>(),
                                   .state = Managed(state).get(),
                                   .weight_decay = kDecay,
                                   .momentum = kMomentum});
        for (int64_t i = 0; i < n; ++i) {
          u[i] = (with_momentum ? kMomentum * u[i] : 0) + state.gradient_factor * gradient[i] + kDecay * w[i];
          w[i] -= state.learning_rate * u[i];
        }
      }
      expect_close(weight, w, 0, 16 * rounding_unit(dtype));
      if (with_momentum) expect_close(velocity, u, 0, 16 * rounding_unit(dtype));
      EXPECT_TRUE(mirror.bytes() == Array::of(DType::f16, {n}, weight.values()).bytes());
    }
  }
}

TEST(Sgd, ASkippedStepTouchesNothing) {
  Array weight = Array::random(DType::f32, {99}, 1);
  Array velocity = Array::random(DType::f32, {99}, 2);
  const auto weight_before = weight.bytes();
  const auto velocity_before = velocity.bytes();
  const Array gradient = Array::of(DType::f32, {99}, std::vector<double>(99, NAN));
  StepState state;
  state.learning_rate = 1;
  state.apply = 0;
  run_on_test_device(SgdStep{.weight = weight.out<1>(),
                             .velocity = velocity.out<1>(),
                             .gradient = gradient.in<1>(),
                             .mirror = {},
                             .state = Managed(state).get(),
                             .weight_decay = 0,
                             .momentum = kMomentum});
  EXPECT_TRUE(weight.bytes() == weight_before);
  EXPECT_TRUE(velocity.bytes() == velocity_before);
}

}  // namespace
}  // namespace tessera
