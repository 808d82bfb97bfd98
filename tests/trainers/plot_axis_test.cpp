#include "trainers/plot_axis.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> labels(const PlotAxis& axis) {
  std::vector<std::string> labels;
  for (const PlotAxis::Tick& tick : axis.ticks) labels.push_back(tick.label);
  return labels;
}

TEST(LinearAxis, MarksRoundNumbers) {
  EXPECT_THAT(labels(linear_axis(1.23, 4.1, 6)), ElementsAre("1.5", "2.0", "2.5", "3.0", "3.5", "4.0"));
  EXPECT_THAT(labels(linear_axis(0, 10, 5)), ElementsAre("0", "2", "4", "6", "8", "10"));
  EXPECT_THAT(labels(linear_axis(-0.011, 0.011, 5)), ElementsAre("-0.010", "-0.005", "0.000", "0.005", "0.010"));
  EXPECT_THAT(labels(linear_axis(0, 2, 8, 1)), ElementsAre("0", "1", "2"));
  EXPECT_DOUBLE_EQ(linear_axis(2, 6, 5).position(3), 0.25);
  EXPECT_DOUBLE_EQ(linear_axis(2, 6, 5).position(7), 1.25);
}

TEST(LinearAxis, WidensWhereEverythingIsEqual) {
  for (const double value : {0.0, 1.5, -3.0, 1e9}) {
    const PlotAxis axis = linear_axis(value, value, 5);
    EXPECT_LT(axis.low, value);
    EXPECT_GT(axis.high, value);
    EXPECT_NEAR(axis.position(value), 0.5, 1e-6);
    EXPECT_FALSE(axis.ticks.empty());
  }
}

TEST(LinearAxis, WidensWhereOnlyRoundingDiffers) {
  for (const double value : {3.3322045101752034, -3.0, 1e9}) {
    const PlotAxis axis = linear_axis(value, std::nextafter(value, 1e300), 5);
    EXPECT_NEAR(axis.position(value), 0.5, 1e-6);
    EXPECT_LE(axis.ticks.size(), 7U);
  }
}

TEST(LogarithmicAxis, MarksAsManyDecadesAsFit) {
  EXPECT_THAT(labels(logarithmic_axis(0.003, 5, 6)), ElementsAre("0.01", "0.1", "1"));
  EXPECT_THAT(labels(logarithmic_axis(0.15, 4.2, 6)), ElementsAre("0.2", "0.5", "1", "2"));
  EXPECT_THAT(labels(logarithmic_axis(1e-9, 1, 5)), ElementsAre("1e-08", "1e-06", "0.0001", "0.01", "1"));
  const PlotAxis axis = logarithmic_axis(0.01, 100, 6);
  EXPECT_NEAR(axis.position(1), 0.5, 1e-12);
  EXPECT_NEAR(axis.position(0.1), 0.25, 1e-12);
  const PlotAxis flat = logarithmic_axis(2, 2, 6);
  EXPECT_GT(flat.position(2), 0);
  EXPECT_LT(flat.position(2), 1);
}

TEST(StepLabel, IsShort) {
  EXPECT_EQ(step_label(0), "0");
  EXPECT_EQ(step_label(500), "500");
  EXPECT_EQ(step_label(2500), "2,500");
  EXPECT_EQ(step_label(12500), "12.5k");
  EXPECT_EQ(step_label(200'000), "200k");
  EXPECT_EQ(step_label(1'500'000), "1.5M");
}

}  // namespace
}  // namespace tessera
