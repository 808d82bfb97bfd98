// The order of calls, streams, counts, buckets and events that NCCL would see, against a recording of them. The
// recording also doubles the data, as a sum would: on a GPU, where an event that is missing lets a kernel start too
// early, that shows too.
#include "framework/distributed/stream_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/autograd/autograd.h"
#include "framework/distributed/gradient_reducer.h"
#include "framework/distributed/sharded_state.h"
#include "framework/ops.h"
#include "kernels/elementwise/scale.h"
#include "tests/support/devices.h"
#include "tests/support/recording_collectives.h"
#ifdef TESSERA_SIMT
#include "kernels/simt/capture.h"
#include "kernels/simt/stream.h"
#endif

#ifdef TESSERA_WITH_CUDA
namespace tessera {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

#ifdef TESSERA_SIMT
constexpr bool kSeesEvents = true;
#else
constexpr bool kSeesEvents = false;
#endif

class StreamCommunicatorTest : public testing::Test {
 protected:
  void SetUp() override {
    if (test_device().is_cpu()) GTEST_SKIP() << "this machine has no device besides the CPU";
    ranks = stream_communicator(std::make_unique<RecordingCollectives>(recorded), test_device(), 1, 2);
    work = std::get<Cuda>(exec_of(test_device())).stream;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const RecordedCall& call : recorded.calls) all.push_back(call.name);
    return all;
  }
  std::vector<int64_t> counts() const {
    std::vector<int64_t> all;
    for (const RecordedCall& call : recorded.calls) all.push_back(call.count);
    return all;
  }
  // Each call comes behind the work that was given before `moments[i]`, and the work from now on behind all calls.
  void expect_in_order(const std::vector<int64_t>& moments) {
    if (!kSeesEvents) return;
    for (size_t i = 0; i < recorded.calls.size(); ++i) EXPECT_GT(recorded.calls[i].work_before, moments[i]) << i;
    EXPECT_GE(recorded.order.seen(work, recorded.calls.back().stream), recorded.calls.back().moment);
  }

  Recorded recorded;
  std::unique_ptr<Communicator> ranks;
  void* work = nullptr;
};

TEST_F(StreamCommunicatorTest, CollectivesHaveAStreamOfTheirOwn) {
  const Tensor data = Tensor::full({8}, 1, DType::f32, test_device());
  ranks->all_reduce(data);
  ranks->reduce_scatter(data);
  ranks->all_gather(data);
  ranks->broadcast(data);
  EXPECT_THAT(names(), ElementsAre("all_reduce", "reduce_scatter", "all_gather", "broadcast"));
  EXPECT_THAT(counts(), ElementsAre(8, 4, 4, 8));
  for (const RecordedCall& call : recorded.calls) {
    EXPECT_EQ(call.stream, recorded.calls[0].stream);
    EXPECT_NE(call.stream, work);
    EXPECT_EQ(call.address, data.address());
  }
  EXPECT_THAT(data.to_vector<float>(), ElementsAre(2, 2, 2, 2, 4, 4, 4, 4));  // rank 1 has the second part
  EXPECT_TRUE(ranks->on_stream());
}

// Work before a collective is done before it, work after `wait` sees its result.
TEST_F(StreamCommunicatorTest, WaitsOnTheDevice) {
  const Tensor data = Tensor::full({1 << 16}, 1, DType::f32, test_device());
  std::vector<int64_t> moments;
  for (int i = 0; i < 4; ++i) {
    launch(Scale{.x = data.in<1>(), .factor = 3, .y = data.out<1>()}, exec_of(test_device()));
    moments.push_back(recorded.order.now());
    ranks->all_reduce(data);
    expect_in_order(moments);
  }
  EXPECT_THAT(data.to_vector<float>(), Each(1296));
}

// One wait is enough for all that was started before; the streams run side by side until then.
TEST_F(StreamCommunicatorTest, ComputationGoesOnUntilItWaits) {
  const Tensor a = Tensor::full({64}, 1, DType::f32, test_device());
  const Tensor b = Tensor::full({64}, 1, DType::f32, test_device());
  std::vector<int64_t> moments = {recorded.order.now()};
  ranks->start_all_reduce(a, Communicator::Reduction::sum);
  moments.push_back(recorded.order.now());
  const Communicator::Ticket last = ranks->start_all_reduce(b, Communicator::Reduction::sum);
  if (kSeesEvents) {
    EXPECT_EQ(recorded.order.seen(work, recorded.calls[0].stream), 0);
  }
  ranks->wait(last);
  expect_in_order(moments);
  EXPECT_THAT(a.to_vector<float>(), Each(2));
}

TEST_F(StreamCommunicatorTest, TensorsOfTheHostTravelThroughTheDevice) {
  const Tensor host = Tensor::full({3}, 5, DType::f32);
  ranks->all_reduce(host);
  EXPECT_THAT(host.to_vector<float>(), Each(10));
}

TEST_F(StreamCommunicatorTest, AFailureBehindTheScenesIsThrown) {
  recorded.failure = "remote process exited";
  const Tensor data = Tensor::full({3}, 5, DType::f32, test_device());
  try {
    ranks->all_reduce(data);
    FAIL();
  } catch (const ConnectionLost& error) {
    EXPECT_THAT(error.what(), HasSubstr("remote process exited"));
  }
}

struct ThreeLayers {
  Parameter a{{64, 64}, Init::ones()};
  Parameter b{{64, 64}, Init::ones()};
  Parameter c{{64, 64}, Init::ones()};

  template <class Each>
  void visit(Each&& each) {
    each("a", a);
    each("b", b);
    each("c", c);
  }
};

class ReducerOnAStream : public StreamCommunicatorTest {
 protected:
  static constexpr int64_t kLayer = 64 * 64;

  // One window over the three layers, one bucket each; what was called until backward ended is in `during_backward`.
  void reduce(const GradientReducer::Options& options) {
    GradientReducer::Options buckets = options;
    buckets.first_bucket_bytes = buckets.bucket_bytes = kLayer * 4;
    arena.emplace(model, ParameterArena::Options{.device = test_device(), .parts = 2});
    reducer.emplace(*arena, *ranks, buckets);
    ASSERT_EQ(reducer->buckets().size(), 3);
    reducer->begin_window();
    const Pass pass = Pass::recording({});
    const Variable x = pass.input(Tensor::full({1, 64}, 1, DType::f32, test_device()));
    reducer->listen(pass);
    std::vector<int64_t> moments = {recorded.order.now()};
    backward(ops::sum(ops::linear(ops::linear(ops::linear(x, model.a), model.b), model.c)), 1);
    during_backward = recorded.calls.size();
    reducer->finish_window();
    ASSERT_EQ(recorded.calls.size(), 3);
    // A bucket's gradients were computed after the bucket before it had been started.
    for (const size_t call : {0, 1}) moments.push_back(recorded.calls[call].moment);
    expect_in_order(moments);
  }

  ThreeLayers model;
  std::optional<ParameterArena> arena;
  std::optional<GradientReducer> reducer;
  size_t during_backward = 0;
};

// Buckets come in the order of the arena, whatever the order of announcement, and cover it exactly once.
TEST_F(ReducerOnAStream, SendsConsecutiveBuckets) {
  reduce({});
  EXPECT_EQ(during_backward, 3);
  EXPECT_THAT(names(), Each("all_reduce"));
  EXPECT_THAT(counts(), Each(kLayer));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(recorded.calls[i].address, reducer->buckets()[i].range.of(arena->gradients()).address());
    EXPECT_EQ(recorded.calls[i].dtype, DType::f32);
  }
  EXPECT_THAT(model.a.gradient().to_vector<float>(), Each(2 * kLayer));
  EXPECT_THAT(model.c.gradient().to_vector<float>(), Each(2 * kLayer));
}

TEST_F(ReducerOnAStream, ScattersItsPartsForShardedState) {
  reduce({.mode = GradientReducer::Mode::own_part});
  EXPECT_EQ(during_backward, 3);
  EXPECT_THAT(names(), Each("reduce_scatter"));
  EXPECT_THAT(counts(), Each(kLayer / 2));
  const std::vector<float> gradients = model.b.gradient().to_vector<float>();
  EXPECT_EQ(gradients.front(), kLayer);  // the other rank's part is its own
  EXPECT_EQ(gradients.back(), 2 * kLayer);

  recorded.calls.clear();
  gather_parts(arena->weights(), *reducer, *ranks);
  EXPECT_THAT(names(), ElementsAre("all_gather", "all_gather", "all_gather"));
  EXPECT_THAT(counts(), Each(kLayer / 2));
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(recorded.calls[i].address, reducer->buckets()[i].range.of(arena->weights()).address());
}

TEST_F(ReducerOnAStream, SendsHalfTheBytesInBfloat16) {
  for (const auto mode : {GradientReducer::Mode::all, GradientReducer::Mode::own_part}) {
    recorded.calls.clear();
    model = {};
    reduce({.mode = mode, .in_bf16 = true});
    EXPECT_EQ(during_backward, 3);
    for (const RecordedCall& call : recorded.calls) {
      EXPECT_EQ(call.dtype, DType::bf16);
      EXPECT_EQ(call.count, mode == GradientReducer::Mode::all ? kLayer : kLayer / 2);
    }
    EXPECT_EQ(model.c.gradient().to_vector<float>().back(), 2 * kLayer);  // back in float32
  }
}

}  // namespace
}  // namespace tessera
#endif
