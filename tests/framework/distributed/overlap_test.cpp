// Communication behind backward: with a communicator whose collectives take 20 ms of sleep each, most of that time is
// hidden, and the recorded times say that the first bucket left before backward was done.
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "framework/autograd/autograd.h"
#include "framework/autograd/graph.h"
#include "framework/distributed/communication_thread.h"
#include "framework/distributed/gradient_reducer.h"
#include "modules/language_model.h"

namespace tessera {
namespace {

constexpr auto kDelay = std::chrono::milliseconds(20);

class SleepingCommunicator final : public Communicator {
 public:
  SleepingCommunicator() : Communicator(0, 1) {}

  std::string_view transport() const override { return "sleep"; }
  Ticket start_all_reduce(const Tensor&, Reduction) override { return sleep(); }
  Ticket start_reduce_scatter(const Tensor&) override { return sleep(); }
  Ticket start_all_gather(const Tensor&) override { return sleep(); }
  Ticket start_broadcast(const Tensor&, int) override { return sleep(); }
  void wait(Ticket ticket) override { thread_.wait(ticket); }
  void barrier() override {}
  Usage usage() const override { return thread_.usage(); }

 private:
  Ticket sleep() {
    return thread_.post([] { std::this_thread::sleep_for(kDelay); });
  }

  CommunicationThread thread_;
};

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// One bucket, the last, cannot hide: the embedding's gradient ends backward. Four or more are sent behind a backward
// that takes several times as long as all of them.
TEST(Overlap, MostOfADelayHidesBehindBackward) {
  LanguageModel model({.vocab_size = 64, .block_size = 256, .n_layer = 6, .n_head = 4, .n_embd = 256});
  const ParameterArena arena(model, {});
  SleepingCommunicator ranks;
  GradientReducer reducer(arena, ranks, {.bucket_bytes = 5 << 20});
  ASSERT_GE(reducer.buckets().size(), 4);

  reducer.begin_window();
  const Pass pass = Pass::recording({});
  const Tensor ids = Tensor::zeros({16, 256}, DType::i32);
  const Variable loss = model.loss(pass.input(ids), ids);
  reducer.listen(pass);
  double last_op_began = 0;
  double previous_op_ended = 0;
  pass.graph()->observe_backward([&](const Graph::Node&) {
    last_op_began = previous_op_ended;
    previous_op_ended = steady_seconds();
  });
  backward(loss, 1);
  reducer.finish_window();

  EXPECT_LT(reducer.buckets().front().started, last_op_began);
  const Communicator::Usage usage = ranks.usage();
  const double slept = std::chrono::duration<double>(kDelay).count() * static_cast<double>(reducer.buckets().size());
  EXPECT_GE(usage.busy, slept);
  EXPECT_GE(1 - usage.waited / slept, 0.6) << usage.waited << " s of " << slept << " s were waited for";
}

// What follows a collective at once hides nothing of it.
TEST(Overlap, NothingHidesWithoutComputation) {
  SleepingCommunicator ranks;
  for (int i = 0; i < 3; ++i) ranks.all_reduce(Tensor());
  const Communicator::Usage usage = ranks.usage();
  EXPECT_GE(usage.waited, 3 * std::chrono::duration<double>(kDelay).count());
  EXPECT_LT(1 - usage.waited / usage.busy, 0.5);
}

}  // namespace
}  // namespace tessera
