#include "kernels/common/threads.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>
#include <sched.h>

#include "kernels/common/peak.h"

namespace tessera {
namespace {

/// The CPUs that each thread of the team may run on.
std::vector<std::set<int>> masks() {
  std::vector<std::set<int>> masks(omp_get_max_threads());
#pragma omp parallel
  {
    cpu_set_t set;
    sched_getaffinity(0, sizeof(set), &set);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) masks[omp_get_thread_num()].insert(cpu);
    }
  }
  return masks;
}

TEST(Threads, UsesWhatIsAskedForAndPinsAFullTeam) {
  const int before = omp_get_max_threads();
  const int all = set_threads(0);
  EXPECT_GE(all, 1);
  EXPECT_EQ(omp_get_max_threads(), all);

  set_threads(1);
  EXPECT_EQ(omp_get_max_threads(), 1);
  const std::set<int> cpus = masks()[0];

  const int full = static_cast<int>(cpus.size());
  EXPECT_EQ(set_threads(full), full);
  std::set<int> used;
  for (const std::set<int>& mask : masks()) {
    if (omp_get_proc_bind() == omp_proc_bind_false) {
      EXPECT_EQ(mask.size(), 1u);
    }
    used.insert(mask.begin(), mask.end());
  }
  EXPECT_EQ(used, cpus);

  set_threads(2 * full);  // more threads than CPUs: free to move
  EXPECT_EQ(masks()[0], cpus);
  set_threads(1);
  omp_set_num_threads(before);
}

TEST(Peak, IsThatOfAVectorUnit) {
  EXPECT_GT(measured_fma_peak_gflops(1), 1.0);
  EXPECT_LT(measured_fma_peak_gflops(1), 1e4);
}

}  // namespace
}  // namespace tessera
