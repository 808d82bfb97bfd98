// Work of an emulated device that is done as late as CUDA allows: mistakes of the host that early work hides come to
// light, and a host that waits sees what it has a right to.
#ifdef TESSERA_SIMT
#include "kernels/simt/stream.h"

#include <gtest/gtest.h>

#include "kernels/simt/launch.h"
#include "kernels/simt/policy.h"

namespace tessera {
namespace {

using simt::Streams;

class StreamOrder : public testing::Test {
 protected:
  StreamOrder() {
    simt::policy().streams = Streams::lazy;
    for (cudaStream_t* stream : {&stream_, &other_}) cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event_, cudaEventDisableTiming);
    for (int32_t** number : {&pinned_, &result_}) {
      void* memory = nullptr;
      cudaMallocHost(&memory, 4);
      *number = static_cast<int32_t*>(memory);
      **number = 0;
    }
    void* memory = nullptr;
    cudaMalloc(&memory, 4);
    device_ = static_cast<int32_t*>(memory);
  }
  ~StreamOrder() override {
    simt::finish_all_streams();
    simt::policy() = before_;
    cudaFree(device_);
    cudaFreeHost(pinned_);
    cudaFreeHost(result_);
    cudaEventDestroy(event_);
  }

  void send(const int32_t* from) { cudaMemcpyAsync(device_, from, 4, cudaMemcpyHostToDevice, stream_); }
  void receive(cudaStream_t stream) { cudaMemcpyAsync(result_, device_, 4, cudaMemcpyDeviceToHost, stream); }
  /// What the device holds in the end.
  int32_t received() {
    receive(stream_);
    cudaStreamSynchronize(stream_);
    return *result_;
  }

  simt::Policy before_ = simt::policy();
  cudaStream_t stream_ = nullptr, other_ = nullptr;
  cudaEvent_t event_ = nullptr;
  int32_t *pinned_ = nullptr, *result_ = nullptr, *device_ = nullptr;
};

TEST_F(StreamOrder, PinnedMemoryThatIsChangedTooEarlyArrivesChanged) {
  for (const auto& [streams, arrives] : {std::pair{Streams::eager, 7}, {Streams::lazy, 8}}) {
    simt::policy().streams = streams;
    *pinned_ = 7;
    send(pinned_);
    *pinned_ = 8;  // the mistake
    EXPECT_EQ(received(), arrives);
  }
}

TEST_F(StreamOrder, PinnedMemoryIsFreeAfterTheWait) {
  *pinned_ = 7;
  send(pinned_);
  cudaStreamSynchronize(stream_);
  *pinned_ = 8;
  EXPECT_EQ(received(), 7);
}

TEST_F(StreamOrder, PageableMemoryIsFreeAtOnce) {
  int32_t number = 7;
  send(&number);
  number = 8;
  EXPECT_EQ(received(), 7);
}

TEST_F(StreamOrder, ResultsThatAreReadTooEarlyAreOld) {
  *pinned_ = 7;
  send(pinned_);
  receive(stream_);
  EXPECT_EQ(*result_, 0);  // the mistake
  cudaStreamSynchronize(stream_);
  EXPECT_EQ(*result_, 7);
}

TEST_F(StreamOrder, AnEventIsAMomentOfItsStream) {
  *pinned_ = 7;
  send(pinned_);
  receive(stream_);
  cudaEventRecord(event_, stream_);
  cudaMemsetAsync(device_, 0, 4, stream_);
  receive(stream_);
  cudaEventSynchronize(event_);
  EXPECT_EQ(*result_, 7);
  cudaStreamSynchronize(stream_);
  EXPECT_EQ(*result_, 0);
}

TEST_F(StreamOrder, WhoAsksForAnEventIsToldNoAtFirst) {
  send(pinned_);
  cudaEventRecord(event_, stream_);
  EXPECT_EQ(cudaEventQuery(event_), cudaErrorNotReady);
  EXPECT_EQ(cudaEventQuery(event_), cudaSuccess);
}

TEST_F(StreamOrder, StreamsWaitForEachOtherOnlyWhenTold) {
  for (const auto& [waits, arrives] : {std::pair{false, 0}, {true, 7}}) {
    *pinned_ = 0;
    send(pinned_);
    cudaStreamSynchronize(stream_);
    *pinned_ = 7;
    send(pinned_);
    cudaEventRecord(event_, stream_);
    if (waits) cudaStreamWaitEvent(other_, event_, 0);
    receive(other_);
    cudaStreamSynchronize(other_);
    EXPECT_EQ(*result_, arrives);
    cudaStreamSynchronize(stream_);
  }
}

__global__ void increment_kernel(int32_t* number) {
  if (thread_index() == 0) ++*number;
}

TEST_F(StreamOrder, KernelsAndReplaysKeepTheirPlace) {
  const auto increment = [&] { simt::launch(increment_kernel, "increment", Cuda{0, stream_}, {}, 32, 0, device_); };
  cudaMemsetAsync(device_, 0, 4, stream_);
  increment();
  ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  increment();
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  cudaGraphExec_t executable = nullptr;
  cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  for (int i = 0; i < 3; ++i) cudaGraphLaunch(executable, stream_);
  receive(stream_);
  increment();
  cudaGraphExecDestroy(executable);
  EXPECT_EQ(*result_, 0);
  cudaStreamSynchronize(stream_);
  EXPECT_EQ(*result_, 4);
}

__global__ void misaligned_kernel() { simt::this_block().check_shared(nullptr, 4, 4, "load", simt::Where::here()); }

TEST_F(StreamOrder, AKernelThatFailsIsTheLastOfItsStream) {
  simt::launch(misaligned_kernel, "misaligned", Cuda{0, stream_}, {}, 32, 0);
  receive(stream_);
  EXPECT_THROW(cudaStreamSynchronize(stream_), Error);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(*result_, 0);
}

}  // namespace
}  // namespace tessera
#endif
