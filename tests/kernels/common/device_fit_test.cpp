#include "kernels/common/cuda/device_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

using testing::HasSubstr;

const DeviceFacts good{.name = "NVIDIA H100", .driver_cuda = 13010, .runtime_cuda = 13000, .major = 9, .minor = 0};

TEST(DeviceFit, SaysNothingWhereAllFits) {
  EXPECT_EQ(misfit_of(good), "");
  DeviceFacts older_minor = good;
  older_minor.driver_cuda = 13000;
  older_minor.runtime_cuda = 13020;  // minor versions are compatible
  EXPECT_EQ(misfit_of(older_minor), "");
}

TEST(DeviceFit, NamesADriverThatIsTooOld) {
  DeviceFacts facts = good;
  facts.driver_cuda = 12040;
  EXPECT_THAT(misfit_of(facts),
              HasSubstr("the NVIDIA driver supports CUDA 12.4, but this program was built with CUDA 13.0; install"));
}

TEST(DeviceFit, NamesAGpuThatIsTooOld) {
  DeviceFacts facts = good;
  facts.name = "Tesla T4";
  facts.major = 7, facts.minor = 5;
  EXPECT_THAT(misfit_of(facts), HasSubstr("Tesla T4 has compute capability 7.5, but the kernels need 8.0"));
}

TEST(DeviceFit, NamesTheArchitectureToBuildFor) {
  DeviceFacts facts = good;
  facts.has_code = false;
  EXPECT_THAT(misfit_of(facts), HasSubstr("no code for NVIDIA H100 (compute capability 9.0); build it with "
                                          "-DTESSERA_CUDA_ARCHITECTURES=90-real"));
}

TEST(DeviceFit, PassesOnWhatADeviceSaysThatCannotBeUsed) {
  DeviceFacts facts = good;
  facts.trouble = "all CUDA-capable devices are busy or unavailable";
  EXPECT_EQ(misfit_of(facts),
            "NVIDIA H100 cannot be used: all CUDA-capable devices are busy or unavailable; see what "
            "nvidia-smi says of it, or use device = cpu");
}

}  // namespace
}  // namespace tessera
