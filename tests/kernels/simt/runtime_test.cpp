// The stand-in for the CUDA runtime refuses what CUDA refuses.
#ifdef TESSERA_SIMT
#include "kernels/simt/runtime.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

class Events : public testing::Test {
 protected:
  Events() {
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  }
  ~Events() override {
    cudaEventDestroy(event);
    cudaGetLastError();
  }
  /// Captures what `body` does; the graph is dropped.
  template <class Body>
  void capture(Body body) {
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    body();
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cudaGraphDestroy(graph);
  }

  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
};

TEST_F(Events, OfACaptureCannotBeAskedByTheHost) {
  capture([&] { EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess); });
  EXPECT_EQ(cudaEventQuery(event), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaEventSynchronize(event), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaStreamWaitEvent(stream, event, 0), cudaErrorStreamCaptureIsolation);
  EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(event), cudaSuccess);
}

TEST_F(Events, OfOtherWorkAreNotWaitedForInACapture) {
  EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  capture([&] {
    EXPECT_EQ(cudaStreamWaitEvent(stream, event, 0), cudaErrorStreamCaptureIsolation);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
  });
  EXPECT_EQ(cudaStreamWaitEvent(stream, event, 0), cudaSuccess);
}

TEST_F(Events, NeverRecordedAreErrors) {
  EXPECT_EQ(cudaStreamWaitEvent(stream, event, 0), cudaErrorInvalidValue);
  EXPECT_EQ(cudaEventSynchronize(event), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace tessera
#endif
