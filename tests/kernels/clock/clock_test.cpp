#include "kernels/clock/clock.h"

#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "tests/support/devices.h"

namespace tessera {
namespace {

using namespace std::chrono_literals;

// The time between two runs of the kernels is at least what the host slept in between, and is added.
TEST(Clock, AddsWhatHasPassed) {
  Managed<int64_t> moment, total(7);
  std::chrono::nanoseconds slept{7};
  for (int i = 0; i < 3; ++i) {
    run_on_test_device(NoteTime{.moment = moment.get()});
    std::this_thread::sleep_for(5ms);
    run_on_test_device(AddTimeSince{.moment = moment.get(), .total = total.get()});
    slept += 5ms;
    EXPECT_GE(*total, slept.count());
  }
}

// It runs at the host's pace: microseconds for nanoseconds, or ticks, would be far off.
TEST(Clock, CountsNanoseconds) {
  Managed<int64_t> moment, total;
  const auto begin = std::chrono::steady_clock::now();
  run_on_test_device(NoteTime{.moment = moment.get()});
  std::this_thread::sleep_for(20ms);
  run_on_test_device(AddTimeSince{.moment = moment.get(), .total = total.get()});
  const std::chrono::nanoseconds passed = std::chrono::steady_clock::now() - begin;
  EXPECT_LE(*total, 1.01 * static_cast<double>(passed.count()));
}

}  // namespace
}  // namespace tessera
