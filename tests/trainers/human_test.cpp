#include "trainers/human.h"

#include <limits>

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Human, Counts) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(7), "7");
  EXPECT_EQ(human_count(7.5), "7.50");
  EXPECT_EQ(human_count(987.4), "987");
  EXPECT_EQ(human_count(999.7), "1.00k");
  EXPECT_EQ(human_count(12'340), "12.3k");
  EXPECT_EQ(human_count(99'960), "100k");
  EXPECT_EQ(human_count(4'560'000), "4.56M");
  EXPECT_EQ(human_count(1.2e9), "1.20G");
  EXPECT_EQ(human_count(-2000), "-2k");
  EXPECT_EQ(human_count(1e21), "1000000P");
  EXPECT_EQ(human_count(std::numeric_limits<double>::quiet_NaN()), "nan");
}

TEST(Human, RealNumbers) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(human_real(1.23456, 4), "1.2346");
  EXPECT_EQ(human_real(-0.5, 2), "-0.50");
  EXPECT_EQ(human_real(kNan, 4), "nan");
  EXPECT_EQ(human_real(-kNan, 4), "nan");
  EXPECT_EQ(human_real(kInfinity, 4), "inf");
  EXPECT_EQ(human_count(-kNan), "nan");
}

TEST(Human, Losses) {
  EXPECT_EQ(human_loss(1.65559), "1.6556");
  EXPECT_EQ(human_loss(0.001), "0.0010");
  EXPECT_EQ(human_loss(2.71e-6), "2.7e-06");
  EXPECT_EQ(human_loss(0), "0.0000");
  EXPECT_EQ(human_loss(1234567.5), "1234567.5000");
  EXPECT_EQ(human_loss(-2.2e57), "-2.2e+57");
  EXPECT_EQ(human_loss(-std::numeric_limits<double>::quiet_NaN()), "nan");
}

TEST(Human, Integers) {
  EXPECT_EQ(human_integer(0), "0");
  EXPECT_EQ(human_integer(999), "999");
  EXPECT_EQ(human_integer(491'520), "491,520");
  EXPECT_EQ(human_integer(1'000'000), "1,000,000");
  EXPECT_EQ(human_integer(-123), "-123");
  EXPECT_EQ(human_integer(-1234), "-1,234");
}

TEST(Human, Durations) {
  EXPECT_EQ(human_duration(0.26), "0.3s");
  EXPECT_EQ(human_duration(9.96), "10s");
  EXPECT_EQ(human_duration(59.6), "1m00s");
  EXPECT_EQ(human_duration(80), "1m20s");
  EXPECT_EQ(human_duration(3599.7), "1h00m");
  EXPECT_EQ(human_duration(2 * 3600 + 3 * 60), "2h03m");
  EXPECT_EQ(human_duration(3 * 86400 + 4 * 3600), "3d04h");
  EXPECT_EQ(human_duration(-1), "?");
  EXPECT_EQ(human_duration(std::numeric_limits<double>::infinity()), "?");
}

TEST(Human, Bytes) {
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(int64_t{200} << 20), "200 MiB");
  EXPECT_EQ(human_bytes((int64_t{32} << 30) / 10), "3.2 GiB");
}

}  // namespace
}  // namespace tessera
