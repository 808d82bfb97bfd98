// Bank conflicts: the count itself, and that the attention kernels have none. Of use in the SIMT flavour only.
#include <gtest/gtest.h>
#ifdef TESSERA_SIMT

#include "kernels/simt/launch.h"
#include "tests/kernels/flash_attention/attention_case.h"

namespace tessera {
namespace {

using simt::Access;

std::vector<std::pair<uintptr_t, size_t>> strided(int lanes, uintptr_t stride, size_t bytes) {
  std::vector<std::pair<uintptr_t, size_t>> all;
  for (int lane = 0; lane < lanes; ++lane) all.emplace_back(1024 + static_cast<uintptr_t>(lane) * stride, bytes);
  return all;
}

TEST(SimtTraffic, CountsWavefronts) {
  EXPECT_EQ(simt::traffic_of(strided(32, 4, 4)).wavefronts, 1);
  EXPECT_EQ(simt::traffic_of(strided(32, 0, 4)).wavefronts, 1);  // all read the same word
  EXPECT_EQ(simt::traffic_of(strided(32, 8, 4)).wavefronts, 2);
  EXPECT_EQ(simt::traffic_of(strided(32, 128, 4)).wavefronts, 32);
  EXPECT_EQ(simt::traffic_of(strided(32, 132, 4)).wavefronts, 1);
  EXPECT_EQ(simt::traffic_of(strided(32, 2, 2)).wavefronts, 1);
  EXPECT_EQ(simt::traffic_of(strided(32, 16, 16)).wavefronts, 4);
  EXPECT_EQ(simt::traffic_of(strided(32, 128, 16)).wavefronts, 32);
  EXPECT_EQ(simt::traffic_of(strided(32, 128, 16)).ideal, 4);
}

TEST(SimtTraffic, IsMeteredByInstruction) {
  struct Smem {
    alignas(128) uint16_t rows[32][64];  // every row begins in bank 0
  };
  const simt::TrafficMeter meter;
  simt::run_grid({2, 1, 1}, 64, sizeof(Smem), [] {
    auto& smem = shared_memory<Smem>();
    uint32_t to[4];
    ldmatrix_x4(to, smem.rows[lane_index()]);
    ldmatrix_x4(to, &smem.rows[lane_index()][lane_index() % 8 * 8]);
  });
  EXPECT_EQ(meter.of(Access::ldmatrix).wavefronts, 2 * 2 * (32 + 4));
  EXPECT_EQ(meter.of(Access::ldmatrix).ideal, 2 * 2 * (4 + 4));
  EXPECT_EQ(meter.of(Access::cp_async).wavefronts, 0);
}

TEST(SimtTraffic, AttentionTilesHaveNoConflicts) {
  for (const int64_t D : {32, 64, 96, 128, 192, 256}) {
    AttentionCase c{.N = 70, .M = 130, .D = D};
    c.fill(1, DType::bf16);
    const simt::TrafficMeter meter;
    run_attention(c, DType::bf16);
    EXPECT_GT(meter.of(Access::ldmatrix).ideal, 0);
    EXPECT_EQ(meter.of(Access::ldmatrix).wavefronts, meter.of(Access::ldmatrix).ideal) << D;
    EXPECT_GT(meter.of(Access::cp_async).ideal, 0);
    EXPECT_EQ(meter.of(Access::cp_async).wavefronts, meter.of(Access::cp_async).ideal) << D;
  }
}

}  // namespace
}  // namespace tessera
#endif
