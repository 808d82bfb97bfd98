// How many CPU threads the process computes with, and where they run.
#pragma once

namespace tessera {

/// Makes every later parallel loop use `n` OpenMP threads; 0: one per CPU that the process may use (its affinity mask,
/// its cgroup's quota and OMP_NUM_THREADS, whichever is least). When the threads fill the mask, each is pinned to a CPU
/// of its own, so that they cannot be put on the same one, unless OMP_PROC_BIND already says where they go. Threads
/// that the caller starts afterwards inherit its CPU. Where `processes` of this machine do the same, n = 0 is a share
/// of the CPUs. Returns the number used.
int set_threads(int n, int processes = 1);

}  // namespace tessera
