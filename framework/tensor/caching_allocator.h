// Blocks of one device's memory that are kept after use and handed out again by size class. The CPU and every GPU have
// one each. On a GPU a block may be handed out while earlier work of the device's one stream still uses it: the new
// work comes behind it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "framework/tensor/allocator.h"

namespace tessera {

/// Where blocks come from. `take` returns null when there is no more, `give_back` false for a block that must be kept;
/// `capacity` is all there is, 0 where unknown. `spoil` is told of a block that nobody uses until it is handed out
/// again.
struct SystemMemory {
  void* (*take)(int device, size_t bytes);
  bool (*give_back)(int device, void* block, size_t bytes);
  void (*spoil)(int device, void* block, size_t bytes) noexcept;
  size_t (*capacity)(int device);
  size_t alignment;  ///< of every block
};

class CachingAllocator {
 public:
  CachingAllocator(Device device, SystemMemory system) : device_(device), system_(system) {}

  void* allocate(size_t bytes, const MemoryUse& use);
  void deallocate(void* block, size_t bytes) noexcept;
  void release_cached();
  AllocatorStats stats();

  /// A second cache of the same memory. While it is active, it serves what is asked of this one; a block always goes
  /// back to where it came from. The pool must be removed before it is destroyed.
  std::unique_ptr<CachingAllocator> make_pool() const { return std::make_unique<CachingAllocator>(device_, system_); }
  void add_pool(CachingAllocator& pool);
  void remove_pool(CachingAllocator& pool);
  void activate(CachingAllocator* pool) { active_ = pool; }

 private:
  size_t size_class(size_t bytes) const;
  bool holds(void* block);
  void* take_cached(size_t size);
  void* from_system(size_t size, const MemoryUse& use);
  [[noreturn]] void fail_for_lack_of_memory(size_t size, const MemoryUse& use) const;
  void drop_cached();

  Device device_;
  SystemMemory system_;
  std::mutex mutex_;
  std::multimap<size_t, void*> cached_;
  struct Live {
    size_t size;
    MemoryUse use;
  };
  std::unordered_map<void*, Live> live_;
  AllocatorStats stats_;
  std::vector<CachingAllocator*> pools_;
  CachingAllocator* active_ = nullptr;
};

/// The allocator of `device`, never destroyed: tensors with static storage may outlive every other object.
CachingAllocator& allocator_of(Device device);
CachingAllocator& cpu_allocator();

}  // namespace tessera
