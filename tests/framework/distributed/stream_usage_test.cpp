// What a communicator on a stream says of its time, with a network that takes its time.
#ifdef TESSERA_SIMT
#include <algorithm>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "framework/distributed/stream_communicator.h"
#include "framework/tensor/device_graph.h"
#include "kernels/simt/capture.h"
#include "kernels/simt/stream.h"
#include "tests/support/devices.h"

namespace tessera {
namespace {

using namespace std::chrono_literals;

constexpr auto kDelay = 20ms;

double seconds(std::chrono::duration<double> time) { return time.count(); }

// A network that takes its time: each collective sleeps on the stream.
class SleepingCollectives final : public StreamCollectives {
 public:
  std::string_view name() const override { return "sleep"; }
  void all_reduce(const Tensor&, Communicator::Reduction, void* stream) override { sleep(stream); }
  void reduce_scatter(const Tensor&, const Tensor&, void* stream) override { sleep(stream); }
  void all_gather(const Tensor&, const Tensor&, void* stream) override { sleep(stream); }
  void broadcast(const Tensor&, int, void* stream) override { sleep(stream); }

  static void sleep(void* stream) {
    simt::enqueue(static_cast<cudaStream_t>(stream), [] { std::this_thread::sleep_for(kDelay); });
  }
};

// How long collectives were under way, and how long the device's own stream was held for them.
class UsageOfAStream : public testing::Test {
 protected:
  ~UsageOfAStream() override { simt::observe_events({}); }

  // From now on the device's own stream stands still for a delay wherever it waits for an event.
  void let_waits_take_their_time() {
    simt::observe_events([work = std::get<Cuda>(exec_of(test_device())).stream](const simt::EventUse& use) {
      if (!use.recorded && use.stream == work) SleepingCollectives::sleep(work);
    });
  }

  // When the device has done all that it was given.
  Communicator::Usage finished_usage() const {
    simt::finish_all_streams();
    return ranks->usage();
  }

  std::unique_ptr<Communicator> ranks =
      stream_communicator(std::make_unique<SleepingCollectives>(), test_device(), 1, 2);
  Tensor data = Tensor::zeros({8}, DType::f32, test_device());
};

// The best of a few rounds: this machine may stop the process itself for a while.
TEST_F(UsageOfAStream, CollectivesBehindComputationAreBusyAndNotWaitedFor) {
  double least_waited = seconds(1h);
  for (int round = 0; round < 5 && least_waited >= seconds(kDelay); ++round) {
    const Communicator::Usage before = finished_usage();
    Communicator::Ticket last = 0;
    for (int i = 0; i < 3; ++i) last = ranks->start_all_reduce(data, Communicator::Reduction::sum);
    simt::finish_all_streams();  // while the device computes
    ranks->wait(last);
    const Communicator::Usage usage = finished_usage();
    EXPECT_GE(usage.busy - before.busy, seconds(3 * kDelay));
    least_waited = std::min(least_waited, usage.waited - before.waited);
  }
  EXPECT_LT(least_waited, seconds(kDelay));
}

TEST_F(UsageOfAStream, WhatHoldsTheDeviceIsWaitedFor) {
  let_waits_take_their_time();
  for (int i = 0; i < 3; ++i) ranks->reduce_scatter(data);
  EXPECT_GE(finished_usage().waited, seconds(3 * kDelay));
}

// The host asks for nothing then, and hears of each replay.
TEST_F(UsageOfAStream, IsThatOfAGraphsReplays) {
  let_waits_take_their_time();
  DeviceGraph graph(test_device());
  const auto step = [&] {
    ranks->all_reduce(data);
    ranks->all_gather(data);
  };
  graph.rehearse(step);
  const Communicator::Usage before = finished_usage();
  graph.record(step);
  EXPECT_EQ(finished_usage().busy, before.busy);
  for (int replay = 1; replay <= 3; ++replay) {
    graph.replay();
    const Communicator::Usage usage = finished_usage();
    EXPECT_GE(usage.busy - before.busy, seconds(replay * 2 * kDelay));
    EXPECT_GE(usage.waited - before.waited, seconds(replay * 2 * kDelay));
  }
}

}  // namespace
}  // namespace tessera
#endif
