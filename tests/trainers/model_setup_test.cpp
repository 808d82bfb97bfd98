#include "trainers/model_setup.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(DeviceOfARank, IsTheGpuOfItsNumberOnTheHost) {
  const Rendezvous place{.rank = 11, .world = 16, .local_rank = 3, .local_world = 8};
  EXPECT_EQ(device_name_of("cuda", place, 8), "cuda:3");
  EXPECT_EQ(device_name_of("auto", place, 8), "cuda:3");
  EXPECT_EQ(device_name_of("cuda:5", place, 8), "cuda:5");
  EXPECT_EQ(device_name_of("cpu", place, 8), "cpu");
}

// A scheduler that shows each rank its own GPU only, and more ranks than GPUs.
TEST(DeviceOfARank, IsOneThatItCanSee) {
  const Rendezvous place{.rank = 3, .world = 4, .local_rank = 3, .local_world = 4};
  EXPECT_EQ(device_name_of("cuda", place, 1), "cuda:0");
  EXPECT_EQ(device_name_of("cuda", place, 2), "cuda:1");
  EXPECT_EQ(device_name_of("auto", place, 0), "auto");
}

TEST(DeviceOfARank, OfOneRankIsWhatTheSettingSays) { EXPECT_EQ(device_name_of("cuda", {}, 8), "cuda"); }

}  // namespace
}  // namespace tessera
