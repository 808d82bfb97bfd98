#include "framework/tensor/allocator.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "framework/tensor/caching_allocator.h"
#include "framework/tensor/host_memory.h"
#include "kernels/common/error.h"
#include "kernels/common/host_scratch.h"

namespace tessera {
namespace {

// "24 KiB", "1536 MiB": at least two digits where there are two.
std::string amount(size_t bytes) {
  const char* units[] = {"bytes", "KiB", "MiB", "GiB"};
  size_t unit = 0;
  for (; unit < 3 && bytes >= 10240; ++unit) bytes /= 1024;
  return std::to_string(bytes) + " " + units[unit];
}

std::string described(const MemoryUse& use) {
  return use.shape.rank() == 0 ? use.name : format_message("{}, {} {}", {use.name, use.dtype, use.shape});
}

}  // namespace

// Classes are an eighth of a power of two apart: similar sizes share blocks, at most 12.5 % (never touched) is lost.
size_t CachingAllocator::size_class(size_t bytes) const {
  const size_t alignment = system_.alignment;
  bytes = std::max(bytes, alignment);
  const size_t step = std::max(std::bit_floor(bytes) / 8, alignment);
  return (bytes + step - 1) / step * step;
}

void* CachingAllocator::allocate(size_t bytes, const MemoryUse& use) {
  if (active_ != nullptr) return active_->allocate(bytes, use);
  const size_t size = size_class(bytes);
  const std::scoped_lock lock(mutex_);
  ++stats_.requests;
  void* block = take_cached(size);
  if (block == nullptr) block = from_system(size, use);
  live_[block] = {size, use};
  stats_.bytes_in_use += static_cast<int64_t>(size);
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.bytes_in_use);
  return block;
}

void CachingAllocator::deallocate(void* block, size_t bytes) noexcept {
  for (CachingAllocator* pool : pools_) {
    if (pool->holds(block)) return pool->deallocate(block, bytes);
  }
  const size_t size = size_class(bytes);
  if (active_ == nullptr) system_.spoil(device_.index, block, size);  // else a graph would do so in every replay
  const std::scoped_lock lock(mutex_);
  live_.erase(block);
  stats_.bytes_in_use -= static_cast<int64_t>(size);
  stats_.bytes_cached += static_cast<int64_t>(size);
  cached_.emplace_hint(cached_.lower_bound(size), size, block);
}

bool CachingAllocator::holds(void* block) {
  const std::scoped_lock lock(mutex_);
  return live_.contains(block);
}

void CachingAllocator::add_pool(CachingAllocator& pool) { pools_.push_back(&pool); }

void CachingAllocator::remove_pool(CachingAllocator& pool) { std::erase(pools_, &pool); }

void CachingAllocator::release_cached() {
  const std::scoped_lock lock(mutex_);
  drop_cached();
}

AllocatorStats CachingAllocator::stats() {
  const std::scoped_lock lock(mutex_);
  AllocatorStats all = stats_;
  for (CachingAllocator* pool : pools_) {
    const AllocatorStats more = pool->stats();
    all.bytes_in_use += more.bytes_in_use;
    all.peak_bytes += more.peak_bytes;
    all.bytes_cached += more.bytes_cached;
    all.requests += more.requests;
    all.system_allocations += more.system_allocations;
  }
  return all;
}

// Of a size class the block that came back last, which is the likeliest to be in the caches still.
void* CachingAllocator::take_cached(size_t size) {
  const auto found = cached_.lower_bound(size);
  if (found == cached_.end() || found->first != size) return nullptr;
  void* block = found->second;
  cached_.erase(found);
  stats_.bytes_cached -= static_cast<int64_t>(size);
  return block;
}

void* CachingAllocator::from_system(size_t size, const MemoryUse& use) {
  ++stats_.system_allocations;
  void* block = system_.take(device_.index, size);
  if (block == nullptr) {
    drop_cached();
    block = system_.take(device_.index, size);
  }
  if (block == nullptr) fail_for_lack_of_memory(size, use);
  return block;
}

void CachingAllocator::fail_for_lack_of_memory(size_t size, const MemoryUse& use) const {
  struct User {
    size_t bytes = 0;
    int64_t blocks = 0;
  };
  std::map<std::string, User> users;
  for (const auto& [block, live] : live_) {
    User& user = users[described(live.use)];
    user.bytes += live.size;
    ++user.blocks;
  }
  std::vector<std::pair<std::string, User>> largest(users.begin(), users.end());
  std::sort(largest.begin(), largest.end(),
            [](const auto& a, const auto& b) { return a.second.bytes > b.second.bytes; });
  std::string list;
  for (size_t i = 0; i < std::min<size_t>(largest.size(), 4); ++i) {
    const auto& [name, user] = largest[i];
    list += (i > 0 ? ", " : "; most of it by ") + name +
            (user.blocks > 1 ? format_message(" ({} of them)", {user.blocks}) : "") + ": " + amount(user.bytes);
  }
  const size_t capacity = system_.capacity(device_.index);
  fail(
      "{} is out of memory: {} were asked for {} with {} in use{}{}; try a smaller batch_size with more "
      "gradient_accumulation_steps, a 16-bit dtype, recompute = True, or smaller q_bucket_size and k_bucket_size",
      to_string(device_), amount(size), described(use), amount(static_cast<size_t>(stats_.bytes_in_use)),
      capacity > 0 ? " of " + amount(capacity) : std::string(), list);
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
  static auto* allocator = [] {
    auto* made = new CachingAllocator(
        Device::cpu(), {.take = [](int, size_t bytes) { return take_host_memory(bytes); },
                        .give_back = [](int, void* block, size_t bytes) { return give_back_host_memory(block, bytes); },
                        .spoil = [](int, void*, size_t) noexcept {},
                        .capacity = [](int) { return size_t{0}; },
                        .alignment = 64});
    set_host_scratch_source(
        {.take = [](size_t bytes) { return allocate(Device::cpu(), bytes); },
         .give_back = [](void* block, size_t bytes) noexcept { deallocate(Device::cpu(), block, bytes); }});
    return made;
  }();
  return *allocator;
}

// The CUDA build replaces this one (allocator_cuda.cpp).
#ifndef TESSERA_WITH_CUDA
CachingAllocator& allocator_of(Device) { return cpu_allocator(); }
#endif

void* allocate(Device device, size_t bytes, const MemoryUse& use) { return allocator_of(device).allocate(bytes, use); }
void deallocate(Device device, void* block, size_t bytes) noexcept { allocator_of(device).deallocate(block, bytes); }
void release_cached_memory(Device device) { allocator_of(device).release_cached(); }
AllocatorStats allocator_stats(Device device) { return allocator_of(device).stats(); }

}  // namespace tessera
