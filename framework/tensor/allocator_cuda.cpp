// One caching allocator per GPU. It also serves the kernels' scratch memory.
#include <vector>

#include "framework/tensor/caching_allocator.h"
#include "kernels/common/cuda/runtime.h"
#include "kernels/common/cuda/scratch.h"

namespace tessera {
namespace {

void* take(int device, size_t bytes) {
  void* block = nullptr;
  cuda_check(cudaSetDevice(device), "cudaSetDevice");
  const cudaError_t error = cudaMalloc(&block, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // or the next launch would report it
    return nullptr;
  }
  cuda_check(error, "cudaMalloc");
  return block;
}

cudaStream_t stream_of(int device) {
  return static_cast<cudaStream_t>(std::get<Cuda>(exec_of({Device::Kind::cuda, device})).stream);
}

// Nothing may still use the block: the stream is waited for. A device on which a kernel has failed refuses every call
// and keeps the block: whoever gives memory back may be on the way out with that kernel's error.
bool give_back(int device, void* block, size_t) {
  return cudaSetDevice(device) == cudaSuccess && cudaStreamSynchronize(stream_of(device)) == cudaSuccess &&
         cudaFree(block) == cudaSuccess;
}

// On the emulated device whoever reads freed memory shall read NaN: behind the work that was given so far, and wherever
// a graph frees memory of its pool, in every replay.
void spoil([[maybe_unused]] int device, [[maybe_unused]] void* block, [[maybe_unused]] size_t bytes) noexcept {
#ifdef TESSERA_SIMT
  cudaMemsetAsync(block, 0xff, bytes, stream_of(device));
#endif
}

size_t capacity(int device) {
  size_t free = 0, total = 0;
  const bool known = cudaSetDevice(device) == cudaSuccess && cudaMemGetInfo(&free, &total) == cudaSuccess;
  return known ? total : 0;
}

std::vector<CachingAllocator*>& gpu_allocators() {
  static auto* all = [] {
    auto* made = new std::vector<CachingAllocator*>;
    for (int i = 0; i < cuda_device_count(); ++i)
      made->push_back(new CachingAllocator(
          {Device::Kind::cuda, i},
          {.take = take, .give_back = give_back, .spoil = spoil, .capacity = capacity, .alignment = 256}));
    set_scratch_source({.take =
                            [](int device, size_t bytes) {
                              return allocate({Device::Kind::cuda, device}, bytes);
                            },
                        .give_back =
                            [](int device, void* block, size_t bytes) noexcept {
                              deallocate(Device{Device::Kind::cuda, device}, block, bytes);
                            }});
    return made;
  }();
  return *all;
}

}  // namespace

CachingAllocator& allocator_of(Device device) {
  return device.is_cpu() ? cpu_allocator() : *gpu_allocators().at(static_cast<size_t>(device.index));
}

}  // namespace tessera
