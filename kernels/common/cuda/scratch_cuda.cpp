#include "kernels/common/cuda/runtime.h"
#include "kernels/common/cuda/scratch.h"

namespace tessera {
namespace {

ScratchSource source{[](int device, size_t bytes) {
                       void* block = nullptr;
                       cuda_check(cudaSetDevice(device), "cudaSetDevice");
                       cuda_check(cudaMalloc(&block, bytes), "cudaMalloc");
                       return block;
                     },
                     [](int, void* block, size_t) noexcept { cudaFree(block); }};

}  // namespace

void set_scratch_source(ScratchSource wanted) { source = wanted; }

void* take_for_good(int device, size_t bytes) { return source.take(device, bytes); }

Scratch::Scratch(Cuda cuda, size_t bytes)
    : device_(cuda.device), bytes_(bytes), block_(bytes == 0 ? nullptr : source.take(cuda.device, bytes)) {}

Scratch::~Scratch() {
  if (block_ != nullptr) source.give_back(device_, block_, bytes_);
}

}  // namespace tessera
