#include "trainers/bench_comm.h"

#include <algorithm>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include "trainers/human.h"
#include "trainers/model_setup.h"
#include "trainers/run_on_ranks.h"
#include "trainers/stopwatch.h"
#include "trainers/unused_keys.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

/// Seconds of the fastest of `times` all-reduces of that many bytes, as the slowest rank saw it.
double seconds_of(Communicator& ranks, Device device, int64_t bytes, int64_t times) {
  const Tensor data = Tensor::zeros({bytes / size_of(DType::f32)}, DType::f32, device);
  double best = std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i <= times; ++i) {  // the first one finds buffers and connections
    ranks.barrier();
    Stopwatch watch;
    watch.start();
    ranks.all_reduce(data);
    data.slice(0, 0, 1).item();  // waits for the device
    watch.stop(0);
    if (i > 0) best = std::min(best, watch.seconds());
  }
  const Tensor slowest = Tensor::from(std::vector<double>{best}, {1}, device);
  ranks.all_reduce(slowest, Communicator::Reduction::max);
  return slowest.item();
}

int bench(Communicator& ranks, Device device) {
  constexpr int64_t kSmallest = int64_t{4} << 10, kLargest = int64_t{64} << 20, kTotal = int64_t{512} << 20;
  fmt::print("all-reduce of float32 over {} ranks by {}, {}\n", ranks.world(), ranks.transport(), to_string(device));
  fmt::print("{:>10} {:>12} {:>12} {:>12}\n", "size", "time (us)", "GB/s", "bus GB/s");
  for (int64_t bytes = kSmallest; bytes <= kLargest; bytes *= 4) {
    const double seconds = seconds_of(ranks, device, bytes, std::clamp<int64_t>(kTotal / bytes, 5, 200));
    const double rate = static_cast<double>(bytes) / seconds / 1e9;
    const double share = 2.0 * (ranks.world() - 1) / ranks.world();  // what a ring sends of it over each link
    fmt::print("{:>10} {:>12.1f} {:>12.2f} {:>12.2f}\n", human_bytes(bytes), 1e6 * seconds, rate, rate * share);
  }
  return 0;
}

}  // namespace

int run_bench(std::span<const std::string> arguments) {
  if (arguments.empty() || arguments.front() != "comm")
    throw UsageError("bench wants to know what to measure: tessera bench comm --ranks=N");
  const LoadedConfig loaded = load_config(arguments.subspan(1));
  return run_on_ranks("bench", arguments, loaded, [&](const std::shared_ptr<Communicator>& ranks) {
    tell_unused(loaded, "bench", {"ranks", "max_restarts", "watchdog_seconds", "device"});
    return bench(*ranks, device_of(loaded.config));
  });
}

}  // namespace tessera
