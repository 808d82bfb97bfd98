#include "trainers/loss_curve.h"

#include <cmath>

#include <gtest/gtest.h>

namespace tessera {
namespace {

std::vector<CurvePoint> line(size_t count, double slope) {
  std::vector<CurvePoint> points;
  for (size_t i = 0; i < count; ++i) points.push_back({static_cast<double>(i), slope * static_cast<double>(i)});
  return points;
}

TEST(Gather, KeepsFewPointsAsTheyAre) {
  const auto bins = gather(line(5, 2), 10);
  ASSERT_EQ(bins.size(), 5U);
  EXPECT_EQ(bins[3].x, 3);
  EXPECT_EQ(bins[3].y, 6);
  EXPECT_EQ(bins[3].low, 6);
  EXPECT_EQ(bins[3].high, 6);
  EXPECT_EQ(bins[3].count, 1U);
}

TEST(Gather, MeansOfEqualCountsWithoutTheExtremes) {
  const auto bins = gather(line(1000, 1), 10);
  ASSERT_EQ(bins.size(), 10U);
  EXPECT_NEAR(bins[0].x, 49.5, 1e-9);
  EXPECT_NEAR(bins[9].y, 949.5, 1e-9);
  EXPECT_EQ(bins[0].low, 5);
  EXPECT_EQ(bins[0].high, 94);
  size_t count = 0;
  for (const CurveBin& bin : gather(line(1003, 1), 10)) count += bin.count;
  EXPECT_EQ(count, 1003U);
}

TEST(Gather, LeavesOutWhatIsNotFinite) {
  const std::vector<CurvePoint> points = {{1, 2}, {2, NAN}, {3, INFINITY}, {4, 5}};
  const auto bins = gather(points, 10);
  ASSERT_EQ(bins.size(), 2U);
  EXPECT_EQ(bins[1].x, 4);
  EXPECT_TRUE(gather({}, 10).empty());
}

TEST(Smooth, KeepsStraightLinesAndTheFirstPoint) {
  const auto smoothed = smooth(gather(line(100, -3), 100), 7);
  for (size_t i = 0; i < 100; ++i) EXPECT_NEAR(smoothed[i].y, -3.0 * static_cast<double>(i), 1e-6) << i;
  auto cliff = line(100, 0);
  cliff[0].y = 9;
  EXPECT_EQ(smooth(gather(cliff, 100), 7)[0].y, 9);
}

TEST(Smooth, TakesMostOfTheNoiseAway) {
  auto noisy = line(200, 0);
  for (size_t i = 0; i < 200; ++i) noisy[i].y = i % 2 ? 1 : -1;
  const auto smoothed = smooth(gather(noisy, 200), 5);
  for (size_t i = 20; i < 200; ++i) EXPECT_LT(std::abs(smoothed[i].y), i < 180 ? 0.01 : 0.35) << i;
}

}  // namespace
}  // namespace tessera
