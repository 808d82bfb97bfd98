#include "framework/tensor/allocator.h"

#include <algorithm>
#include <bit>

#include "framework/tensor/caching_allocator.h"
#include "framework/tensor/host_memory.h"
#include "kernels/common/error.h"

namespace tessera {

// Classes are an eighth of a power of two apart: similar sizes share blocks, at most 12.5 % (never touched) is lost.
size_t CachingAllocator::size_class(size_t bytes) const {
  const size_t alignment = system_.alignment;
  bytes = std::max(bytes, alignment);
  const size_t step = std::max(std::bit_floor(bytes) / 8, alignment);
  return (bytes + step - 1) / step * step;
}

void* CachingAllocator::allocate(size_t bytes) {
  const size_t size = size_class(bytes);
  const std::scoped_lock lock(mutex_);
  ++stats_.requests;
  void* block = take_cached(size);
  if (block == nullptr) block = from_system(size);
  stats_.bytes_in_use += static_cast<int64_t>(size);
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.bytes_in_use);
  return block;
}

void CachingAllocator::deallocate(void* block, size_t bytes) noexcept {
  const size_t size = size_class(bytes);
  const std::scoped_lock lock(mutex_);
  stats_.bytes_in_use -= static_cast<int64_t>(size);
  stats_.bytes_cached += static_cast<int64_t>(size);
  cached_.emplace(size, block);
}

void CachingAllocator::release_cached() {
  const std::scoped_lock lock(mutex_);
  drop_cached();
}

AllocatorStats CachingAllocator::stats() {
  const std::scoped_lock lock(mutex_);
  return stats_;
}

void* CachingAllocator::take_cached(size_t size) {
  const auto found = cached_.find(size);
  if (found == cached_.end()) return nullptr;
  void* block = found->second;
  cached_.erase(found);
  stats_.bytes_cached -= static_cast<int64_t>(size);
  return block;
}

void* CachingAllocator::from_system(size_t size) {
  ++stats_.system_allocations;
  void* block = system_.take(device_.index, size);
  if (block == nullptr) {
    drop_cached();
    block = system_.take(device_.index, size);
  }
  expect(block != nullptr,
         "{} is out of memory: {} MiB were asked for with {} MiB in use; try a smaller batch_size, smaller "
         "q_bucket_size and k_bucket_size, recompute = True or a 16-bit dtype",
         to_string(device_), (size >> 20) + 1, stats_.bytes_in_use >> 20);
  return block;
}

void CachingAllocator::drop_cached() {
  std::erase_if(cached_, [&](const auto& entry) {
    const auto& [size, block] = entry;
    if (!system_.give_back(device_.index, block, size)) return false;
    stats_.bytes_cached -= static_cast<int64_t>(size);
    return true;
  });
}

CachingAllocator& cpu_allocator() {
  static auto* allocator = new CachingAllocator(
      Device::cpu(), {.take = [](int, size_t bytes) { return take_host_memory(bytes); },
                      .give_back = [](int, void* block, size_t bytes) { return give_back_host_memory(block, bytes); },
                      .alignment = 64});
  return *allocator;
}

// The CUDA build replaces this one (allocator_cuda.cpp).
#ifndef TESSERA_WITH_CUDA
CachingAllocator& allocator_of(Device) { return cpu_allocator(); }
#endif

void* allocate(Device device, size_t bytes) { return allocator_of(device).allocate(bytes); }
void deallocate(Device device, void* block, size_t bytes) noexcept { allocator_of(device).deallocate(block, bytes); }
void release_cached_memory(Device device) { allocator_of(device).release_cached(); }
AllocatorStats allocator_stats(Device device) { return allocator_of(device).stats(); }

}  // namespace tessera
