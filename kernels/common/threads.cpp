// Threads on CPUs. The mask of the process is read once, before any thread is pinned.
#include "kernels/common/threads.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <omp.h>
#include <sched.h>
#include <unistd.h>

namespace tessera {
namespace {

std::vector<int> process_cpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

/// CPUs' worth of time that the container may use, rounded up; 0: unlimited.
int cgroup_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::max(1, static_cast<int>(std::ceil(std::atof(quota.c_str()) / period)));
}

void run_on(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set);  // a refusal costs speed, not correctness
}

}  // namespace

int set_threads(int n, int processes) {
  static const std::vector<int> cpus = process_cpus();
  static const int from_environment = std::getenv("OMP_NUM_THREADS") ? omp_get_max_threads() : 0;
  const int available = std::max(1, static_cast<int>(cpus.size()));
  if (n <= 0) {
    n = available;
    for (const int limit : {cgroup_quota(), from_environment}) n = limit > 0 ? std::min(n, limit) : n;
    // A launcher that gave each process CPUs of its own has divided them already.
    const int all = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
    if (processes > 1) n = std::clamp(all / processes, 1, n);
  }
  omp_set_dynamic(0);
  omp_set_num_threads(n);
  if (cpus.empty() || omp_get_proc_bind() != omp_proc_bind_false) return n;
#pragma omp parallel num_threads(n)
  run_on(n == available ? std::vector<int>{cpus[omp_get_thread_num()]} : cpus);
  return n;
}

}  // namespace tessera
