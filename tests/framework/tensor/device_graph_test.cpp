#include "framework/tensor/device_graph.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/ops.h"
#include "framework/tensor/allocator.h"
#include "kernels/elementwise/add.h"
#include "tests/support/devices.h"
#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::HasSubstr;

class DeviceGraphTest : public testing::Test {
 protected:
  void SetUp() override {
    if (test_device().is_cpu()) GTEST_SKIP() << "the CPU records no work";
  }

  /// sum ← 2 · sum + weights · x, with temporary memory on the way.
  void work() const {
    const Tensor product = ops::matmul(Variable(weights_), Variable(x_)).value();
    const Tensor twice = ops::scale(Variable(sum_), 2).value();
    sum_.copy_from(ops::add(Variable(twice), Variable(product)).value());
  }
  std::function<void()> the_work() const {
    return [this] { work(); };
  }

  const Device device_ = test_device();
  const Tensor weights_ = Tensor::full({4, 4}, 0.5, DType::f32, device_);
  const Tensor x_ = Tensor::full({4, 4}, 1, DType::f32, device_);
  const Tensor sum_ = Tensor::zeros({4, 4}, DType::f32, device_);
};

TEST_F(DeviceGraphTest, ReplaysWhatWasRecordedOnNewNumbers) {
  DeviceGraph graph(device_);
  graph.rehearse(the_work());
  EXPECT_EQ(sum_.slice(0, 0, 1).slice(1, 0, 1).item(), 2);
  graph.record(the_work());
  EXPECT_EQ(sum_.slice(0, 0, 1).slice(1, 0, 1).item(), 2) << "recording does nothing";
  graph.replay();
  EXPECT_EQ(sum_.slice(0, 0, 1).slice(1, 0, 1).item(), 6);
  x_.fill(3);
  const Tensor unrelated = Tensor::full({4, 4}, NAN, DType::f32, device_);  // must not get the pool's memory
  graph.replay();
  EXPECT_EQ(sum_.slice(0, 0, 1).slice(1, 0, 1).item(), 18);
  EXPECT_TRUE(std::isnan(unrelated.slice(0, 0, 1).slice(1, 0, 1).item()));
}

TEST_F(DeviceGraphTest, ItsMemoryLivesAsLongAsItDoes) {
  const int64_t before = allocator_stats(device_).bytes_in_use + allocator_stats(device_).bytes_cached;
  {
    DeviceGraph graph(device_);
    graph.rehearse(the_work());
    EXPECT_GT(allocator_stats(device_).bytes_in_use + allocator_stats(device_).bytes_cached, before);
  }
  EXPECT_EQ(allocator_stats(device_).bytes_in_use + allocator_stats(device_).bytes_cached, before);
}

#ifdef TESSERA_SIMT
TEST_F(DeviceGraphTest, RefusesWaitingAndMemoryThatThePoolDoesNotHave) {
  DeviceGraph graph(device_);
  graph.rehearse(the_work());
  EXPECT_THAT(message_of([&] {
                graph.record([&] {
                  work();
                  static_cast<void>(sum_.to_vector<float>());
                });
              }),
              HasSubstr("not permitted when stream is capturing"));
  EXPECT_THAT(message_of([&] {
                graph.record([&] {
                  work();
                  const Tensor more = Tensor::empty({1 << 20}, DType::f32, device_);
                });
              }),
              HasSubstr("not permitted when stream is capturing"));
  EXPECT_FALSE(graph.recorded());
  graph.record(the_work());
  graph.replay();
  EXPECT_EQ(sum_.slice(0, 0, 1).slice(1, 0, 1).item(), 6);
}

// Whoever reads memory that a recorded step has freed reads NaN after each replay.
TEST_F(DeviceGraphTest, FreedMemoryOfThePoolIsSpoiled) {
  DeviceGraph graph(device_);
  In<4> freed;
  const auto frees = [&] {
    const Tensor twice = ops::scale(Variable(sum_), 2).value();
    sum_.copy_from(twice);
    freed = twice.in<4>();
  };
  graph.rehearse(frees);
  graph.record(frees);
  for (int replay = 0; replay < 2; ++replay) {
    sum_.fill(1);
    graph.replay();
    EXPECT_EQ(sum_.slice(0, 0, 1).slice(1, 0, 1).item(), 2);
    const Tensor read = Tensor::empty({4, 4}, DType::f32, device_);
    launch(Add{.a = freed, .b = sum_.in<4>(), .y = read.out<4>()}, exec_of(device_));
    EXPECT_THAT(read.to_vector<float>(), testing::Each(testing::IsNan()));
  }
}

// A device on which a kernel has failed refuses every call, as one does to a thread that captures: the graph then goes
// without another error.
TEST_F(DeviceGraphTest, CanGoWhenTheDeviceRefusesEveryCall) {
  auto graph = std::make_unique<DeviceGraph>(device_);
  graph->rehearse(the_work());
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  graph.reset();
  cudaGraph_t none = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream, &none), cudaErrorStreamCaptureInvalidated);
}
#endif

}  // namespace
}  // namespace tessera
