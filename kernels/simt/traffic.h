// Bank conflicts. Shared memory has 32 banks of 4 bytes; a wavefront serves one word of each. The lanes of a warp that
// run one instruction together (for the n-th time each) share wavefronts: all 32 with words of up to 4 bytes, 16 with
// 8, 8 with 16, and the 8 rows of each matrix of ldmatrix.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

namespace tessera::simt {

enum class Access { ldmatrix, cp_async, plain };  ///< plain: loads and stores, seen in instrumented kernels only

struct Traffic {
  int64_t wavefronts = 0;
  int64_t ideal = 0;  ///< what the bytes would need without conflicts
};

/// While one lives, the launches of the process are counted; one at a time.
class TrafficMeter {
 public:
  TrafficMeter();
  ~TrafficMeter();
  TrafficMeter(const TrafficMeter&) = delete;
  TrafficMeter& operator=(const TrafficMeter&) = delete;
  Traffic of(Access access) const { return totals_[static_cast<size_t>(access)]; }

 private:
  friend class TrafficCounter;
  std::array<Traffic, 3> totals_{};
};

/// What one block adds to the meter.
class TrafficCounter {
 public:
  static bool is_wanted();
  /// A lane runs the instruction `site` (a place in the code, or its name).
  void note(int thread, Access access, uintptr_t site, const void* address, size_t bytes);
  /// The block has ended.
  void flush();

 private:
  using Lanes = std::map<int, std::pair<uintptr_t, size_t>>;    // thread: address and bytes
  using Instruction = std::tuple<int, uintptr_t, int, Access>;  // warp, site, how many times before
  std::map<std::pair<int, uintptr_t>, int> times_;
  std::map<Instruction, Lanes> open_;
};

/// The traffic of lanes that run one instruction: address and bytes of each.
Traffic traffic_of(const std::vector<std::pair<uintptr_t, size_t>>& lanes);

}  // namespace tessera::simt
