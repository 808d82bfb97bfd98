// Who may add next. Sums of floats depend on their order; here the order is that of the key tiles, whichever threads
// hold them, so results do not depend on the number of threads and no two threads write the same place at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace tessera::attention {

/// How many steps each unit of work has passed. Units are started in an order in which a unit comes after the one it
/// waits for, so the earliest unfinished one never waits in vain.
class Turns {
 public:
  explicit Turns(int64_t units) : passed_(static_cast<size_t>(units)) {}

  /// Lets the units that wait for `unit` do everything up to its step `steps`, and see what it wrote.
  void pass(int64_t unit, int64_t steps) { passed_[static_cast<size_t>(unit)].store(steps, std::memory_order_release); }

  /// Returns once `unit` has passed `steps` steps; at once for a negative unit.
  void wait(int64_t unit, int64_t steps) const {
    if (unit < 0) return;
    while (passed_[static_cast<size_t>(unit)].load(std::memory_order_acquire) < steps) std::this_thread::yield();
  }

 private:
  std::vector<std::atomic<int64_t>> passed_;
};

}  // namespace tessera::attention
