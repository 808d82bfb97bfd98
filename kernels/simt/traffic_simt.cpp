#include <algorithm>
#include <mutex>
#include <set>

#include "kernels/common/error.h"
#include "kernels/simt/traffic.h"

namespace tessera::simt {
namespace {

TrafficMeter* meter = nullptr;
std::mutex mutex;

}  // namespace

TrafficMeter::TrafficMeter() {
  expect(meter == nullptr, "simt: traffic is already being counted; use one TrafficMeter at a time");
  meter = this;
}
TrafficMeter::~TrafficMeter() { meter = nullptr; }

bool TrafficCounter::is_wanted() { return meter != nullptr; }

Traffic traffic_of(const std::vector<std::pair<uintptr_t, size_t>>& lanes) {
  Traffic traffic;
  const size_t widest = lanes.empty() ? 4 : lanes.front().second;
  const size_t together = widest <= 4 ? 32 : widest == 8 ? 16 : 8;
  for (size_t first = 0; first < lanes.size(); first += together) {
    std::array<std::set<uintptr_t>, 32> banks;
    size_t words = 0, busiest = 0;
    for (size_t i = first; i < std::min(lanes.size(), first + together); ++i) {
      const auto [address, bytes] = lanes[i];
      for (uintptr_t word = address / 4; word <= (address + bytes - 1) / 4; ++word)
        words += banks[word % 32].insert(word).second ? 1 : 0;
    }
    for (const auto& bank : banks) busiest = std::max(busiest, bank.size());
    traffic.wavefronts += static_cast<int64_t>(busiest);
    traffic.ideal += static_cast<int64_t>((words + 31) / 32);
  }
  return traffic;
}

void TrafficCounter::note(int thread, Access access, uintptr_t site, const void* address, size_t bytes) {
  const int time = times_[{thread, site}]++;
  open_[{thread / 32, site, time, access}][thread] = {reinterpret_cast<uintptr_t>(address), bytes};
}

void TrafficCounter::flush() {
  std::array<Traffic, 3> totals{};
  for (const auto& [instruction, by_thread] : open_) {
    std::vector<std::pair<uintptr_t, size_t>> lanes;
    for (const auto& [thread, range] : by_thread) lanes.push_back(range);
    const Traffic traffic = traffic_of(lanes);
    Traffic& total = totals[static_cast<size_t>(std::get<Access>(instruction))];
    total.wavefronts += traffic.wavefronts;
    total.ideal += traffic.ideal;
  }
  open_.clear();
  times_.clear();
  const std::scoped_lock lock(mutex);
  for (size_t i = 0; meter != nullptr && i < totals.size(); ++i) {
    meter->totals_[i].wavefronts += totals[i].wavefronts;
    meter->totals_[i].ideal += totals[i].ideal;
  }
}

}  // namespace tessera::simt
