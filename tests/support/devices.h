// The device that the tests run on: the first GPU (or its stand-in) where the build has one, else the CPU.
// TESSERA_TEST_DEVICE=cpu chooses the CPU everywhere.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "framework/tensor/device.h"
#include "kernels/common/exec.h"
#ifdef TESSERA_WITH_CUDA
#include "kernels/common/cuda/runtime.h"
#endif

namespace tessera {

inline Device test_device() {
  static const Device device = [] {
    const char* wanted = std::getenv("TESSERA_TEST_DEVICE");
    return wanted != nullptr ? Device::parse(wanted) : Device::parse("auto");
  }();
  return device;
}

/// Runs a kernel on the test device and waits for it. Its memory must be host memory that the device reaches
/// (`ManagedAllocator`).
template <class Kernel>
void run_on_test_device(const Kernel& kernel) {
  const Exec exec = exec_of(test_device());
  launch(kernel, exec);
#ifdef TESSERA_WITH_CUDA
  if (const Cuda* cuda = std::get_if<Cuda>(&exec))
    cuda_check(cudaStreamSynchronize(static_cast<cudaStream_t>(cuda->stream)), "cudaStreamSynchronize");
#endif
}

/// Memory that the CPU and the test device both reach.
template <class T>
struct ManagedAllocator {
  using value_type = T;
  ManagedAllocator() = default;
  template <class Other>
  ManagedAllocator(const ManagedAllocator<Other>&) {}

  T* allocate(size_t n) {
    if (test_device().is_cpu()) return std::allocator<T>().allocate(n);
    void* memory = nullptr;
#ifdef TESSERA_WITH_CUDA
    cuda_check(cudaMallocManaged(&memory, n * sizeof(T)), "cudaMallocManaged");
#endif
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t n) {
    if (test_device().is_cpu()) return std::allocator<T>().deallocate(memory, n);
#ifdef TESSERA_WITH_CUDA
    cuda_check(cudaFree(memory), "cudaFree");
#endif
  }
  friend bool operator==(const ManagedAllocator&, const ManagedAllocator&) { return true; }
};

/// One value in such memory.
template <class T>
class Managed {
 public:
  explicit Managed(const T& value = {}) : memory_(1, value) {}
  T* get() { return memory_.data(); }
  T& operator*() { return memory_.front(); }
  T* operator->() { return memory_.data(); }

 private:
  std::vector<T, ManagedAllocator<T>> memory_;
};

}  // namespace tessera
