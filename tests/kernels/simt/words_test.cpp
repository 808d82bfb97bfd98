// The words of kernels/simt against the layouts of the PTX ISA written out by hand, and the faults that the emulator
// must notice. Built everywhere, of use in the SIMT flavour only.
#include <gtest/gtest.h>
#include <omp.h>
#ifdef TESSERA_SIMT

#include <cmath>
#include <string>
#include <vector>

#include "kernels/simt/launch.h"

namespace tessera {
namespace {

using simt::Delivery;
using simt::run_grid;

/// The message of the error that `body` ends in, run by one block.
std::string failure_of(int threads, size_t shared_bytes, const std::function<void()>& body) {
  try {
    run_grid({}, threads, shared_bytes, body);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_in(const std::string& text, const std::string& message) {
  EXPECT_NE(message.find(text), std::string::npos) << message;
}

TEST(SimtWords, ShufflesAndVotes) {
  std::vector<int> from_neighbour(64), any(64);
  run_grid({}, 64, 0, [&] {
    from_neighbour[thread_index()] = shuffle_xor(thread_index() * 10, 5);
    any[thread_index()] = warp_any(thread_index() == 40);
  });
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(from_neighbour[i], (i / 32 * 32 + (i % 32 ^ 5)) * 10);
    EXPECT_EQ(any[i], i >= 32);
  }
}

TEST(SimtWords, LdmatrixGivesEachLaneTwoNeighbours) {
  struct Smem {
    alignas(16) uint16_t rows[32][8];
  };
  std::vector<std::array<uint32_t, 4>> plain(32), turned(32);
  run_grid({}, 32, sizeof(Smem), [&] {
    auto& smem = shared_memory<Smem>();
    for (int c = 0; c < 8; ++c) smem.rows[lane_index()][c] = static_cast<uint16_t>(lane_index() * 8 + c);
    sync_warp();
    uint32_t a[4], b[4];
    ldmatrix_x4(a, smem.rows[lane_index()]);
    ldmatrix_x4_transposed(b, smem.rows[lane_index()]);
    std::copy_n(a, 4, plain[lane_index()].begin());
    std::copy_n(b, 4, turned[lane_index()].begin());
  });
  for (uint32_t lane = 0; lane < 32; ++lane) {
    for (uint32_t m = 0; m < 4; ++m) {
      const uint32_t row = m * 8 + lane / 4, column = lane % 4 * 2;
      EXPECT_EQ(plain[lane][m], (row * 8 + column) | (row * 8 + column + 1) << 16);
      const uint32_t first = (m * 8 + column) * 8 + lane / 4;
      EXPECT_EQ(turned[lane][m], first | (first + 8) << 16);
    }
  }
}

TEST(SimtWords, MmaMultipliesItsFragments) {
  std::vector<float> a(16 * 16), b(16 * 8), d(16 * 8);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 13) - 6;
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 7) - 3;
  run_grid({}, 32, 0, [&] {
    const int row = lane_index() / 4, pair = lane_index() % 4 * 2;
    const auto two_of_a = [&](int r, int c) { return pack<BFloat16>(a[r * 16 + c], a[r * 16 + c + 1]); };
    const auto two_of_b = [&](int k) { return pack<BFloat16>(b[k * 8 + row], b[(k + 1) * 8 + row]); };
    const uint32_t left[4] = {two_of_a(row, pair), two_of_a(row + 8, pair), two_of_a(row, pair + 8),
                              two_of_a(row + 8, pair + 8)};
    float sum[4] = {1, 1, 1, 1};
    mma_m16n8k16<BFloat16>(sum, left, two_of_b(pair), two_of_b(pair + 8));
    for (int e = 0; e < 4; ++e) d[(row + e / 2 * 8) * 8 + pair + e % 2] = sum[e];
  });
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      float expected = 1;
      for (int k = 0; k < 16; ++k) expected += a[i * 16 + k] * b[k * 8 + j];
      EXPECT_EQ(d[i * 8 + j], expected);
    }
  }
}

struct CopySmem {
  alignas(16) float values[4];
};

/// What a thread reads at once, after waiting for nothing, and after waiting for its copy; the copy brings 8 bytes.
std::array<float, 2> copied_under(Delivery delivery) {
  void* memory = nullptr;
  cudaMalloc(&memory, 16);
  auto* source = static_cast<float*>(memory);
  for (int i = 0; i < 4; ++i) source[i] = static_cast<float>(i + 1);
  simt::policy().delivery = delivery;
  std::array<float, 2> seen{};
  run_grid({}, 32, sizeof(CopySmem), [&] {
    auto& smem = shared_memory<CopySmem>();
    if (thread_index() != 0) return;
    smem.values[3] = 9;
    cp_async_16(smem.values, source, 8);
    cp_async_commit();
    seen[0] = smem.values[1];
    cp_async_wait<0>();
    seen[1] = smem.values[1];
    EXPECT_EQ(smem.values[3], 0);
  });
  simt::policy().delivery = Delivery::lazy;
  cudaFree(memory);
  return seen;
}

TEST(SimtWords, AtomicSumsAndReciprocals) {
  float sum = 0;
  int32_t count = 0;
  run_grid({}, 64, 0, [&] {
    atomic_add(&sum, 0.5f);
    atomic_add(&count, 1);
  });
  EXPECT_EQ(sum, 32);
  EXPECT_EQ(count, 64);
  EXPECT_EQ(reciprocal_approx(4.0f), 0.25f);
  EXPECT_EQ(reciprocal_approx(INFINITY), 0.0f);
}

TEST(SimtWords, CopiesArriveWhenThePolicySays) {
  EXPECT_EQ(copied_under(Delivery::eager), (std::array<float, 2>{2, 2}));
  for (const Delivery delivery : {Delivery::lazy, Delivery::newest_first}) {
    const auto [before, after] = copied_under(delivery);
    EXPECT_TRUE(std::isnan(before));
    EXPECT_EQ(after, 2);
  }
}

TEST(SimtFaults, ABarrierThatSomebodyMisses) {
  const std::string message = failure_of(64, 0, [] {
    if (thread_index() < 32) sync_threads();
  });
  expect_in("deadlock", message);
  expect_in("threads 0-31 wait in sync_threads at", message);
  expect_in("threads 32-63 have ended", message);
}

TEST(SimtFaults, ADivergedWarp) {
  expect_in("diverged", failure_of(32, 0, [] {
              if (lane_index() < 16) shuffle_xor(1, 1);
              else warp_any(true);
            }));
  expect_in("deadlock", failure_of(32, 0, [] {
              if (lane_index() != 7) sync_warp();
            }));
}

TEST(SimtFaults, BarriersThatDisagree) {
  expect_in("others are at", failure_of(64, 0, [] {
              if (thread_index() < 32) sync_threads();
              else sync_threads();
            }));
  expect_in("barrier 1 is awaited for 32 threads", failure_of(64, 0, [] {
              if (thread_index() < 32) barrier_sync(1, 64);
              else barrier_sync(1, 32);
            }));
}

TEST(SimtFaults, BadSharedAddresses) {
  const auto ldmatrix_at = [](size_t offset) {
    return failure_of(32, 512, [offset] {
      uint32_t to[4];
      ldmatrix_x4(to, simt::current.owner->shared() + offset);
    });
  };
  EXPECT_EQ(ldmatrix_at(496), "");
  expect_in("not a multiple of 16", ldmatrix_at(8));
  expect_in("of 512 bytes of shared memory", ldmatrix_at(512));
}

TEST(SimtFaults, CopiesFromNowhere) {
  const float host[4] = {};
  expect_in("outside every allocation",
            failure_of(32, sizeof(CopySmem), [&] { cp_async_16(shared_memory<CopySmem>().values, host, 16); }));
}

TEST(SimtMemory, StartsAsNan) {
  std::vector<float> found(32);
  run_grid({}, 32, sizeof(CopySmem),
           [&] { found[thread_index()] = shared_memory<CopySmem>().values[thread_index() % 4]; });
  for (const float value : found) EXPECT_TRUE(std::isnan(value));
}

TEST(SimtMemory, HoldsAFiniteNumberUnderRandomSchedules) {
  const simt::Policy before = simt::policy();
  simt::policy() = {Delivery::random, 3};
  float found = 0;
  run_grid({}, 32, sizeof(CopySmem), [&] { found = shared_memory<CopySmem>().values[0]; });
  simt::policy() = before;
  EXPECT_NEAR(found, 785, 1);
}

TEST(SimtBlocks, RunInAnyOrder) {
  for (const Delivery delivery : {Delivery::lazy, Delivery::newest_first}) {
    const simt::Policy before = simt::policy();
    simt::policy() = {delivery};
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    int last = -1;
    run_grid({3, 1, 1}, 32, 0, [&] { last = block_index().x; });
    omp_set_num_threads(threads);
    simt::policy() = before;
    EXPECT_EQ(last, delivery == Delivery::lazy ? 2 : 0);
  }
}

TEST(SimtNamedBarriers, ProducersNeedNotWait) {
  int value = 0, seen = 0;
  run_grid({}, 64, 0, [&] {
    if (thread_index() < 32) {
      if (thread_index() == 0) value = 5;
      barrier_arrive(2, 64);
    } else {
      barrier_sync(2, 64);
      if (thread_index() == 32) seen = value;
    }
  });
  EXPECT_EQ(seen, 5);
}

}  // namespace
}  // namespace tessera
#endif
