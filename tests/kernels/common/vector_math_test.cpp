#include "kernels/common/vector_math.h"

#include <limits>

#include <gtest/gtest.h>

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The largest relative error over [low, high] where the exact value is a normal float.
template <class F, class Exact>
double worst(F f, Exact exact, float low, float high) {
  double error = 0;
  const int n = 400'000;
  for (int i = 0; i <= n; ++i) {
    const float x = low + (high - low) * static_cast<float>(i) / n;
    const double expected = exact(static_cast<double>(x));
    if (std::fabs(expected) < std::numeric_limits<float>::min()) continue;
    error = std::max(error, std::fabs(f(x) - expected) / std::fabs(expected));
  }
  return error;
}

TEST(VectorMath, Exp) {
  const auto fast = [](float x) { return fast_exp(x); };
  const auto exact = [](double x) { return std::exp(x); };
  EXPECT_LE(worst(fast, exact, -87.3f, 88.7f), 2e-7);
  EXPECT_LE(worst(fast, exact, -1, 1), 2e-7);
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_EQ(fast_exp(-kInfinity), 0.0f);
  EXPECT_EQ(fast_exp(-1e30f), 0.0f);
  EXPECT_EQ(fast_exp(kInfinity), kInfinity);
  EXPECT_EQ(fast_exp(88.8f), kInfinity);
  EXPECT_TRUE(std::isnan(fast_exp(std::nanf(""))));
  EXPECT_NEAR(fast_exp(-95.0f) / std::exp(-95.0), 1, 1e-3);  // a subnormal number
}

TEST(VectorMath, Sigmoid) {
  const auto exact = [](double x) { return 1 / (1 + std::exp(-x)); };
  EXPECT_LE(worst([](float x) { return fast_sigmoid(x); }, exact, -80, 80), 4e-7);
  EXPECT_EQ(fast_sigmoid(-kInfinity), 0.0f);
  EXPECT_EQ(fast_sigmoid(kInfinity), 1.0f);
  EXPECT_TRUE(std::isnan(fast_sigmoid(std::nanf(""))));
}

TEST(VectorMath, Tanh) {
  const auto fast = [](float x) { return fast_tanh(x); };
  const auto exact = [](double x) { return std::tanh(x); };
  EXPECT_LE(worst(fast, exact, -20, 20), 4e-7);
  EXPECT_LE(worst(fast, exact, -1, 1), 4e-7);
  EXPECT_LE(worst(fast, exact, -1e-3f, 1e-3f), 4e-7);
  EXPECT_EQ(fast_tanh(-kInfinity), -1.0f);
  EXPECT_EQ(fast_tanh(1000.0f), 1.0f);
  EXPECT_TRUE(std::signbit(fast_tanh(-0.0f)));
  EXPECT_TRUE(std::isnan(fast_tanh(std::nanf(""))));
}

TEST(VectorMath, Bell) {
  const auto fast = [](float x) { return fast_bell(x); };
  const auto exact = [](double x) { return std::exp(-0.5 * x * x); };
  EXPECT_LE(worst(fast, exact, -5, 5), 1e-6);
  EXPECT_LE(worst(fast, exact, -13.2f, 13.2f), 1e-5);
  EXPECT_NEAR(fast_bell(0), 1, 1.2e-7);
  EXPECT_EQ(fast_bell(13.3f), 0.0f);
  EXPECT_EQ(fast_bell(-1e30f), 0.0f);
  EXPECT_EQ(fast_bell(kInfinity), 0.0f);
  EXPECT_TRUE(std::isnan(fast_bell(std::nanf(""))));
}

TEST(VectorMath, Normal) {
  const auto distribution = [](float x) { return fast_normal(x).distribution; };
  const auto exact = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  EXPECT_LE(worst(distribution, exact, -5, 5), 1e-6);
  EXPECT_LE(worst(distribution, exact, -12.9f, 12.9f), 1e-5);
  const auto density = [](float x) { return fast_normal(x).density; };
  const auto exact_density = [](double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI); };
  EXPECT_LE(worst(density, exact_density, -5, 5), 1e-6);
  EXPECT_EQ(fast_normal(kInfinity).distribution, 1.0f);
  EXPECT_EQ(fast_normal(-kInfinity).distribution, 0.0f);
  EXPECT_EQ(fast_normal(kInfinity).density, 0.0f);
  EXPECT_TRUE(std::isnan(fast_normal(std::nanf("")).distribution));
}

TEST(VectorMath, CosSin) {
  for (const double scale : {1.0, 100.0, 1e6, 1e9}) {
    for (int i = -2000; i <= 2000; ++i) {
      const double angle = scale * i / 777;
      const CosSin point = fast_cos_sin(angle);
      ASSERT_NEAR(point.cos, std::cos(angle), 1e-11 + 1e-15 * scale) << angle;
      ASSERT_NEAR(point.sin, std::sin(angle), 1e-11 + 1e-15 * scale) << angle;
    }
  }
}

}  // namespace
}  // namespace tessera
