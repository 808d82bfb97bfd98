// GELU, SiLU and SwiGLU against their equations in double, and their slopes against differences.
#include <gtest/gtest.h>

#include "kernels/elementwise/gelu.h"
#include "kernels/elementwise/silu.h"
#include "kernels/elementwise/swiglu.h"
#include "tests/kernels/array.h"

namespace tessera {
namespace {

double gelu(Activation kind, double x) {
  if (kind == Activation::gelu_exact) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double silu(double x) { return x / (1 + std::exp(-x)); }

template <class F>
double slope(F f, double x) {
  const double h = 1e-4;  // the five-point rule: error ~ h⁴
  return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h);
}

// The compute type is f64 only where x is; the result rounds to its own dtype.
double tolerance(DType x, DType y) { return x == DType::f64 ? 1e-10 : 2e-6 + rounding_unit(y); }

struct Types {
  DType x, y;
};

class Activations : public testing::TestWithParam<Types> {
 protected:
  const int64_t n_ = 3001;
  const Array x_ = Array::random(GetParam().x, {n_}, 1, -8, 8);
  const Array dy_ = Array::random(GetParam().y, {n_}, 2, -2, 2);
  Array y_{GetParam().y, {n_}};
  Array dx_{GetParam().x, {n_}};

  template <class F>
  void check(F f) {
    for (int64_t i = 0; i < n_; ++i) {
      const double wanted = f(x_[i]), wanted_slope = dy_[i] * slope(f, x_[i]);
      ASSERT_NEAR(y_[i], wanted, tolerance(GetParam().x, GetParam().y) * (std::fabs(wanted) + 1e-2)) << x_[i];
      ASSERT_NEAR(dx_[i], wanted_slope, tolerance(GetParam().x, GetParam().x) * (std::fabs(wanted_slope) + 2)) << x_[i];
    }
  }
};

TEST_P(Activations, Gelu) {
  for (const Activation kind : {Activation::gelu_tanh, Activation::gelu_exact}) {
    run_on_test_device(Gelu{.x = x_.in<1>(), .activation = kind, .y = y_.out<1>()});
    run_on_test_device(GeluBackward{.x = x_.in<1>(), .dy = dy_.in<1>(), .activation = kind, .dx = dx_.out<1>()});
    check([kind](double x) { return gelu(kind, x); });
  }
}

TEST_P(Activations, Silu) {
  run_on_test_device(Silu{.x = x_.in<1>(), .y = y_.out<1>()});
  run_on_test_device(SiluBackward{.x = x_.in<1>(), .dy = dy_.in<1>(), .dx = dx_.out<1>()});
  check(silu);
}

TEST_P(Activations, SwiGlu) {
  const int64_t rows = 7, width = 1100;
  const Array gate_up = Array::random(GetParam().x, {rows, 2 * width}, 1, -6, 6, 3);
  const Array dy = Array::random(GetParam().y, {rows, width}, 2, -2, 2, 1);
  Array y(GetParam().y, {rows, width}, 5), d_gate_up(GetParam().x, {rows, 2 * width}, 2);
  run_on_test_device(SwiGlu{.gate_up = gate_up.in<2>(), .y = y.out<2>()});
  run_on_test_device(SwiGluBackward{.gate_up = gate_up.in<2>(), .dy = dy.in<2>(), .d_gate_up = d_gate_up.out<2>()});
  Array in_place = gate_up;
  run_on_test_device(SwiGluBackward{.gate_up = in_place.in<2>(), .dy = dy.in<2>(), .d_gate_up = in_place.out<2>()});
  EXPECT_TRUE(in_place.values() == d_gate_up.values());
  const auto [x_type, y_type] = GetParam();
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t f = 0; f < width; ++f) {
      const double gate = gate_up[r * 2 * width + f], up = gate_up[r * 2 * width + width + f], d = dy[r * width + f];
      const double wanted = silu(gate) * up, d_gate = d * up * slope(silu, gate), d_up = d * silu(gate);
      ASSERT_NEAR(y[r * width + f], wanted, tolerance(x_type, y_type) * (std::fabs(wanted) + 1));
      ASSERT_NEAR(d_gate_up[r * 2 * width + f], d_gate, tolerance(x_type, x_type) * (std::fabs(d_gate) + 10));
      ASSERT_NEAR(d_gate_up[r * 2 * width + width + f], d_up, tolerance(x_type, x_type) * (std::fabs(d_up) + 1));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Activations,
                         testing::Values(Types{DType::f64, DType::f64}, Types{DType::f32, DType::f32},
                                         Types{DType::bf16, DType::bf16}, Types{DType::f16, DType::f16},
                                         Types{DType::f32, DType::bf16}),
                         [](const auto& info) { return to_string(info.param.x) + "_" + to_string(info.param.y); });

TEST(Gelu, FarOutAndInPlace) {
  for (const Activation kind : {Activation::gelu_tanh, Activation::gelu_exact}) {
    Array x = Array::of(DType::f32, {4}, {-1e4, -30, 1e4, NAN});
    run_on_test_device(Gelu{.x = x.in<1>(), .activation = kind, .y = x.out<1>()});
    EXPECT_EQ(x[0], 0);
    EXPECT_NEAR(x[1], 0, 1e-30);
    EXPECT_EQ(x[2], 1e4);
    EXPECT_TRUE(std::isnan(x[3]));
  }
}

}  // namespace
}  // namespace tessera
