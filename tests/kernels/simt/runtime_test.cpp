// The stand-in for the CUDA runtime refuses what CUDA refuses.
#ifdef TESSERA_SIMT
#include "kernels/simt/runtime.h"

#include <array>
#include <cstdlib>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "kernels/simt/launch.h"

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

struct Pair {
  bool first;  // followed by padding
  int32_t* second;
};
__global__ void store_kernel(Pair pair) {
  if (thread_index() == 0) *pair.second = 7;
}

/// The message of the error that a launch ends in.
std::string failure_of(int32_t* address) {
  try {
    simt::launch(store_kernel, "store", Cuda{}, {}, 32, 0, Pair{true, address});
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Arguments, OfHostMemoryAreRefusedEvenInAStruct) {
  int32_t on_the_stack = 0;
  const auto on_the_heap = std::make_unique<std::array<int32_t, 10000>>();
  const std::string message = "store: a kernel on cuda:0 was handed an address of host memory";
  EXPECT_EQ(failure_of(&on_the_stack), message);
  EXPECT_EQ(failure_of(&(*on_the_heap)[9000]), message);
}

TEST(Arguments, OfPinnedAndManagedMemoryAreTaken) {
  void *pinned = nullptr, *managed = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 4), cudaSuccess);
  ASSERT_EQ(cudaMallocManaged(&managed, 4), cudaSuccess);
  for (void* memory : {pinned, managed}) {
    EXPECT_EQ(failure_of(static_cast<int32_t*>(memory)), "");
    EXPECT_EQ(*static_cast<int32_t*>(memory), 7);
  }
  cudaFreeHost(pinned);
  cudaFree(managed);
}

/// Device memory that holds 7, copied there.
int32_t* seven() {
  void *memory = nullptr, *pinned = nullptr;
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaMalloc(&memory, 4);
  cudaMallocHost(&pinned, 4);
  *static_cast<int32_t*>(pinned) = 7;
  cudaMemcpyAsync(memory, pinned, 4, cudaMemcpyHostToDevice, stream);
  cudaStreamSynchronize(stream);
  return static_cast<int32_t*>(memory);
}

/// Dies, or ends with the number at `address`.
[[noreturn]] void exit_with(const int32_t* address) { std::exit(*const_cast<const volatile int32_t*>(address)); }

TEST(GuardDeathTest, TheHostReachesManagedMemoryOnly) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";  // the child starts anew, and with the variable
  setenv("TESSERA_SIMT_GUARD", "1", 1);
  EXPECT_DEATH(exit_with(seven()), "host code touched device memory");
  const auto managed = [] {
    void* memory = nullptr;
    cudaMallocManaged(&memory, 4);
    failure_of(static_cast<int32_t*>(memory));
    exit_with(static_cast<int32_t*>(memory));
  };
  EXPECT_EXIT(managed(), testing::ExitedWithCode(7), "");
  setenv("TESSERA_SIMT_GUARD", "0", 1);
  EXPECT_EXIT(exit_with(seven()), testing::ExitedWithCode(7), "");
  unsetenv("TESSERA_SIMT_GUARD");
}

}  // namespace
}  // namespace tessera
#endif
