#include "framework/tensor/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>

#include "kernels/common/error.h"

namespace tessera {
namespace {

constexpr size_t kAlignment = 64;

// Classes are an eighth of a power of two apart: similar sizes share blocks, at most 12.5 % (never touched) is lost.
size_t size_class(size_t bytes) {
  bytes = std::max(bytes, kAlignment);
  const size_t step = std::max(std::bit_floor(bytes) / 8, kAlignment);
  return (bytes + step - 1) / step * step;
}

class CpuAllocator {
 public:
  void* allocate(size_t bytes) {
    const size_t size = size_class(bytes);
    const std::scoped_lock lock(mutex_);
    ++stats_.requests;
    void* block = take_cached(size);
    if (block == nullptr) block = from_system(size);
    stats_.bytes_in_use += static_cast<int64_t>(size);
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.bytes_in_use);
    return block;
  }

  void deallocate(void* block, size_t bytes) noexcept {
    const size_t size = size_class(bytes);
    const std::scoped_lock lock(mutex_);
    stats_.bytes_in_use -= static_cast<int64_t>(size);
    stats_.bytes_cached += static_cast<int64_t>(size);
    cached_.emplace(size, block);
  }

  void release_cached() {
    const std::scoped_lock lock(mutex_);
    drop_cached();
  }

  AllocatorStats stats() {
    const std::scoped_lock lock(mutex_);
    return stats_;
  }

 private:
  void* take_cached(size_t size) {
    const auto found = cached_.find(size);
    if (found == cached_.end()) return nullptr;
    void* block = found->second;
    cached_.erase(found);
    stats_.bytes_cached -= static_cast<int64_t>(size);
    return block;
  }

  void* from_system(size_t size) {
    ++stats_.system_allocations;
    void* block = std::aligned_alloc(kAlignment, size);
    if (block == nullptr) {
      drop_cached();
      block = std::aligned_alloc(kAlignment, size);
    }
    expect(block != nullptr,
           "out of memory: {} bytes were asked for with {} bytes in use; try a smaller batch_size, recompute = True or "
           "a 16-bit dtype",
           size, stats_.bytes_in_use);
    return block;
  }

  void drop_cached() {
    for (const auto& [size, block] : cached_) std::free(block);
    cached_.clear();
    stats_.bytes_cached = 0;
  }

  std::mutex mutex_;
  std::multimap<size_t, void*> cached_;
  AllocatorStats stats_;
};

// Never destroyed: tensors with static storage may outlive every other object.
CpuAllocator& cpu_allocator() {
  static auto* allocator = new CpuAllocator;
  return *allocator;
}

}  // namespace

#ifndef TESSERA_WITH_CUDA
void* allocate(Device, size_t bytes) { return cpu_allocator().allocate(bytes); }
void deallocate(Device, void* block, size_t bytes) noexcept { cpu_allocator().deallocate(block, bytes); }
void release_cached_memory(Device) { cpu_allocator().release_cached(); }
AllocatorStats allocator_stats(Device) { return cpu_allocator().stats(); }
#endif

}  // namespace tessera
