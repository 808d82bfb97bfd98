// The stand-in for the CUDA runtime refuses what CUDA refuses.
#ifdef TESSERA_SIMT
#include "kernels/simt/runtime.h"

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/common/cuda/launch.cuh"

namespace tessera {
namespace {

// Before anything asks for a device.
const int two_devices = setenv("TESSERA_SIMT_DEVICES", "2", 0);

class Events : public testing::Test {
 protected:
  Events() {
    for (cudaStream_t* made : {&stream, &other}) cudaStreamCreateWithFlags(made, cudaStreamNonBlocking);
    for (cudaEvent_t* made : {&event, &back}) cudaEventCreateWithFlags(made, cudaEventDisableTiming);
    cudaMallocHost(&pinned, 4);
    cudaMalloc(&memory, 4);
  }
  ~Events() override {
    cudaStreamSynchronize(other);
    for (cudaEvent_t made : {event, back}) cudaEventDestroy(made);
    cudaFreeHost(pinned);
    cudaFree(memory);
    cudaGetLastError();
  }
  /// What the capture of what `body` does ends with; the graph is dropped.
  template <class Body>
  cudaError_t capture(Body body) {
    EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    body();
    cudaGraph_t graph = nullptr;
    const cudaError_t error = cudaStreamEndCapture(stream, &graph);
    EXPECT_EQ(graph != nullptr, error == cudaSuccess);
    cudaGraphDestroy(graph);
    return error;
  }
  void clear_memory(cudaStream_t on) { EXPECT_EQ(cudaMemsetAsync(memory, 0, 4, on), cudaSuccess); }
  void let_wait(cudaStream_t waiting, cudaStream_t awaited, cudaEvent_t mark) {
    EXPECT_EQ(cudaEventRecord(mark, awaited), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(waiting, mark, 0), cudaSuccess);
  }

  cudaStream_t stream = nullptr, other = nullptr;
  cudaEvent_t event = nullptr, back = nullptr;
  void *pinned = nullptr, *memory = nullptr;
};

TEST_F(Events, OfACaptureCannotBeAskedByTheHost) {
  EXPECT_EQ(capture([&] { EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess); }), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(event), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaEventSynchronize(event), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaStreamWaitEvent(stream, event, 0), cudaErrorStreamCaptureIsolation);
  EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(event), cudaSuccess);
}

TEST_F(Events, OfOtherWorkAreNotWaitedForInACapture) {
  EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  EXPECT_EQ(capture([&] { EXPECT_EQ(cudaStreamWaitEvent(stream, event, 0), cudaErrorStreamCaptureIsolation); }),
            cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(cudaStreamWaitEvent(stream, event, 0), cudaSuccess);
}

// Also where the caller does not look at what a call returns.
TEST_F(Events, ACaptureIsSpoiledByWhatItRefuses) {
  EXPECT_EQ(cudaEventRecord(event, other), cudaSuccess);
  const std::function<cudaError_t()> refused[] = {[&] { return cudaStreamSynchronize(stream); },
                                                  [&] { return cudaEventQuery(event); },
                                                  [&] { return cudaEventSynchronize(event); },
                                                  [&] {
                                                    void* more = nullptr;
                                                    return cudaMalloc(&more, 4);
                                                  }};
  for (const auto& call : refused) {
    EXPECT_EQ(capture([&] { EXPECT_EQ(call(), cudaErrorStreamCaptureUnsupported); }),
              cudaErrorStreamCaptureInvalidated);
  }
  EXPECT_EQ(capture([&] {
              cudaEventRecord(event, stream);
              EXPECT_EQ(cudaEventQuery(event), cudaErrorCapturedEvent);
            }),
            cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(capture([&] { std::thread([&] { EXPECT_EQ(cudaStreamSynchronize(other), cudaSuccess); }).join(); }),
            cudaSuccess);  // it is the capturing thread's alone
}

TEST_F(Events, AStreamThatTakesPartInACaptureMustBeJoined) {
  const auto fork = [&] {
    clear_memory(stream);
    let_wait(other, stream, event);
    clear_memory(other);
  };
  EXPECT_EQ(capture(fork), cudaErrorStreamCaptureUnjoined);
  EXPECT_EQ(capture([&] {
              fork();
              let_wait(stream, other, back);
            }),
            cudaSuccess);
  EXPECT_EQ(capture([&] {
              fork();
              let_wait(stream, other, back);
              clear_memory(other);  // behind the mark
            }),
            cudaErrorStreamCaptureUnjoined);
}

TEST_F(Events, AStreamThatTakesNoPartInACaptureWorksOn) {
  EXPECT_EQ(capture([&] {
              *static_cast<int32_t*>(pinned) = 7;
              clear_memory(other);
              EXPECT_EQ(cudaMemcpyAsync(pinned, memory, 4, cudaMemcpyDeviceToHost, other), cudaSuccess);
            }),
            cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(other), cudaSuccess);
  EXPECT_EQ(*static_cast<int32_t*>(pinned), 0);
}

TEST_F(Events, AreOfOneDevice) {
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  cudaStream_t foreign = nullptr;
  cudaStreamCreateWithFlags(&foreign, cudaStreamNonBlocking);
  EXPECT_EQ(cudaEventRecord(event, foreign), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess);  // whichever device is the thread's
  EXPECT_EQ(cudaStreamWaitEvent(foreign, event, 0), cudaSuccess);
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
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

__global__ void idle_kernel() {}

TEST(Launches, NeedTheDeviceOfTheirStream) {
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  const auto launch_on = [&](int device) {
    cudaSetDevice(device);
    simt::launch(idle_kernel, "idle", Cuda{0, stream}, {}, 32, 0);
  };
  EXPECT_THROW(launch_on(1), Error);
  EXPECT_NO_THROW(launch_on(0));
}

TEST(Launches, NeedLeaveForMuchSharedMemory) {
  const auto launch_with = [](size_t bytes) {
    cudaSetDevice(0);
    simt::launch(idle_kernel, "idle", Cuda{}, {}, 32, bytes);
  };
  EXPECT_NO_THROW(launch_with(48 << 10));
  EXPECT_THROW(launch_with(100 << 10), Error);
  allow_shared_memory("idle", reinterpret_cast<const void*>(idle_kernel), Cuda{}, 100 << 10);
  EXPECT_NO_THROW(launch_with(100 << 10));
  allow_shared_memory("idle", reinterpret_cast<const void*>(idle_kernel), Cuda{}, 64 << 10);
  EXPECT_NO_THROW(launch_with(100 << 10)) << "another thread may have been about to";
}

TEST(Arguments, OfHostMemoryAreRefusedEvenInAStruct) {
  std::vector<int32_t> of_the_host(10'000'000);
  const bool looks_like_two_numbers = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(of_the_host.data())) < 1U << 24;
  EXPECT_EQ(failure_of(&of_the_host[looks_like_two_numbers ? 5'000'000 : 0]),
            "store: a kernel on cuda:0 was handed an address of host memory");
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
