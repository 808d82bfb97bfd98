// The race checker of kernels/simt on small kernels, right ones and wrong ones. This program alone is compiled with
// -fsanitize=thread, so that the checker sees its loads and stores; it needs the SIMT flavour.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/simt/launch.h"

namespace tessera {
namespace {

struct Smem {
  alignas(16) uint16_t rows[64][8];
  int32_t values[64];
  bool flags[64];
};

/// The message of the error that `body` ends in, run by `threads` threads; empty if it is right.
std::string race_in(int threads, const std::function<void(Smem&)>& body) {
  try {
    simt::run_grid({}, threads, sizeof(Smem), [&] { body(shared_memory<Smem>()); });
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_race(const std::string& text, const std::string& message) {
  EXPECT_NE(message.find("race in block (0, 0, 0)"), std::string::npos) << message;
  EXPECT_NE(message.find(text), std::string::npos) << message;
}

TEST(Races, AreChecked) { EXPECT_TRUE(simt::races_are_checked()); }

TEST(Races, BarriersOrder) {
  const auto neighbours = [](bool synchronised) {
    return race_in(64, [synchronised](Smem& smem) {
      const int i = thread_index();
      smem.values[i] = i;
      if (synchronised) sync_threads();
      else sync_warp();
      const int seen = smem.values[63 - i];
      sync_threads();
      smem.values[i] = seen;
    });
  };
  EXPECT_EQ(neighbours(true), "");
  expect_race("has read with no barrier between", neighbours(false));
  expect_race("came from sync_threads at", neighbours(false));
}

TEST(Races, AReadThatIsOverwritten) {
  expect_race("has read with no barrier between", race_in(64, [](Smem& smem) {
                const int i = thread_index();
                smem.values[i] = 1;
                sync_threads();
                if (i == 40) smem.flags[0] = smem.values[3] != 0;
                if (i < 32) smem.values[i] = 2;
              }));
}

TEST(Races, WarpBarriersOrderAWarp) {
  const auto turn_round = [](bool synchronised) {
    return race_in(32, [synchronised](Smem& smem) {
      smem.values[lane_index()] = lane_index();
      if (synchronised) sync_warp();
      else shuffle_xor(1, 1);  // meets the others, and orders nothing
      smem.values[32 + lane_index()] = smem.values[31 - lane_index()];
    });
  };
  EXPECT_EQ(turn_round(true), "");
  expect_race("came from shuffle at", turn_round(false));
}

TEST(Races, NeighbouringBytesAreNoRace) {
  EXPECT_EQ(race_in(64, [](Smem& smem) { smem.flags[thread_index()] = true; }), "");
}

TEST(Races, BlocksKnowNothingOfEachOther) {
  for (int repeat = 0; repeat < 3; ++repeat) {
    EXPECT_EQ(race_in(64, [](Smem& smem) { smem.values[thread_index()] = 1; }), "");
    EXPECT_EQ(race_in(64, [](Smem& smem) { smem.values[63 - thread_index()] = 1; }), "");
  }
}

TEST(Races, NamedBarriersOrderOneWay) {
  const auto hand_over = [](int writer) {
    return race_in(64, [writer](Smem& smem) {
      if (thread_index() == writer && writer >= 32) smem.values[0] = 1;
      if (warp_index() == 1) {
        barrier_arrive(1, 64);
      } else {
        barrier_sync(1, 64);
        smem.flags[lane_index()] = smem.values[0] != 0;
      }
      if (thread_index() == writer && writer < 32) smem.values[0] = 1;
    });
  };
  EXPECT_EQ(hand_over(40), "");                                   // who arrives is heard by those who wait
  expect_race("has read with no barrier between", hand_over(3));  // and those who wait are heard by nobody
}

TEST(PlainAccesses, LieInOneAllocation) {
  void* memory = nullptr;
  cudaMalloc(&memory, 256);
  auto* numbers = static_cast<int32_t*>(memory);
  const auto write_at = [&](int index) { return race_in(32, [=](Smem&) { numbers[index + lane_index()] = 1; }); };
  EXPECT_EQ(write_at(32), "");
  EXPECT_NE(write_at(33).find("4 bytes of global memory lie outside every allocation"), std::string::npos);
  EXPECT_NE(write_at(-1).find("outside every allocation"), std::string::npos);
  cudaFree(memory);
  EXPECT_NE(write_at(0).find("outside every allocation"), std::string::npos);
}

TEST(PlainAccesses, AreAligned) {
  void* memory = nullptr;
  cudaMalloc(&memory, 256);
  const auto read_at = [&](size_t offset) {
    return race_in(32, [=](Smem& smem) {
      smem.values[lane_index()] = *reinterpret_cast<int32_t*>(static_cast<char*>(memory) + offset);
    });
  };
  EXPECT_EQ(read_at(4), "");
  EXPECT_NE(read_at(6).find("reads 4 bytes at an address that is not a multiple of 4"), std::string::npos);
  cudaFree(memory);
}

/// Two warps; the first copies a row by thread 0, everybody reads it, and then the row is filled again.
class Stages : public ::testing::Test {
 protected:
  Stages() { cudaMalloc(&source_, 16); }
  ~Stages() override { cudaFree(source_); }
  struct Kernel {
    bool waits = true, meets = true, releases = true;
  };
  std::string race_of(Kernel kernel) {
    return race_in(64, [this, kernel](Smem& smem) {
      for (int stage = 0; stage < 2; ++stage) {
        if (thread_index() == 0) {
          cp_async_16(smem.rows[0], source_, 16);
          cp_async_commit();
          if (kernel.waits) cp_async_wait<0>();
        }
        if (kernel.meets) sync_threads();
        uint32_t matrix[4];
        ldmatrix_x4(matrix, smem.rows[0]);
        if (kernel.releases) sync_threads();
      }
    });
  }

 private:
  void* source_ = nullptr;
};

TEST_F(Stages, AreRightWithWaitAndBarriers) { EXPECT_EQ(race_of({}), ""); }
TEST_F(Stages, MissTheWait) { expect_race("is copying to without having waited", race_of({.waits = false})); }
TEST_F(Stages, MissTheBarrier) { expect_race("has written with no barrier", race_of({.meets = false})); }
TEST_F(Stages, AreReleasedEarly) { expect_race("has read with no barrier between", race_of({.releases = false})); }

}  // namespace
}  // namespace tessera
