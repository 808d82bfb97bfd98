#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <sys/mman.h>

#include "kernels/common/error.h"
#include "kernels/simt/device_memory.h"
#include "kernels/simt/guard.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace tessera::simt {
namespace {

constexpr uintptr_t kFirstAddress = 0x3A7B00000000;
constexpr uintptr_t kRangeBytes = uintptr_t{1} << 36;
// What lies in the padding of a kernel's arguments may be the upper half of an old address: no small number below it
// makes it the address of a block.
constexpr uintptr_t kFirstOffset = uintptr_t{1} << 30;
constexpr uintptr_t kSharedOffset = kRangeBytes / 2;  ///< from here on the host reaches what is there, too
constexpr size_t kDefaultMemory = size_t{8} << 30;
constexpr size_t kGap = 256;  ///< running off the end of a block is never the start of the next

/// Under ASan: of `size` bytes at `at`, the first `bytes` may be touched.
void allow([[maybe_unused]] uintptr_t at, [[maybe_unused]] size_t size, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(at), size);
  ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void*>(at), bytes);
#endif
}

uintptr_t number_of(const void* address) { return reinterpret_cast<uintptr_t>(address); }

}  // namespace

size_t LiveBlocks::remove(uintptr_t begin) {
  const auto found = blocks_.find(begin);
  if (found == blocks_.end()) return 0;
  const size_t bytes = found->second;
  blocks_.erase(found);
  return bytes;
}

bool LiveBlocks::contain(uintptr_t at, size_t bytes) const {
  auto next = blocks_.upper_bound(at);
  if (next == blocks_.begin()) return false;
  --next;
  return at + bytes <= next->first + next->second;
}

uintptr_t LiveBlocks::room(uintptr_t at, size_t bytes, size_t gap) const {
  for (const auto& [begin, length] : blocks_) {
    if (begin + length + gap <= at) continue;
    if (at + bytes + gap <= begin) break;
    at = begin + length + gap;
  }
  return at;
}

void PinnedMemory::add(const void* memory, size_t bytes) {
  const std::scoped_lock lock(mutex_);
  blocks_.add(number_of(memory), bytes);
}
void PinnedMemory::remove(const void* memory) {
  const std::scoped_lock lock(mutex_);
  blocks_.remove(number_of(memory));
}
bool PinnedMemory::contains(const void* memory, size_t bytes) {
  const std::scoped_lock lock(mutex_);
  return blocks_.contain(number_of(memory), bytes);
}

PinnedMemory& pinned_memory() {
  static PinnedMemory all;
  return all;
}

DeviceMemory::DeviceMemory(int device)
    : base_(kFirstAddress + kRangeBytes * static_cast<uintptr_t>(device)), total_(kDefaultMemory) {
  const char* limit = std::getenv("TESSERA_SIMT_MEMORY");
  if (limit != nullptr) total_ = static_cast<size_t>(std::atoll(limit));
  void* range = mmap(reinterpret_cast<void*>(base_), kRangeBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  expect(range == reinterpret_cast<void*>(base_), "simt: the addresses of device {} are taken", device);
  guard(range, kSharedOffset);
}

void* DeviceMemory::allocate(size_t bytes, Reach reach) {
  const DeviceWork work;
  const size_t size = (std::max<size_t>(bytes, 1) + 255) / 256 * 256;
  const std::scoped_lock lock(mutex_);
  if (used_ + size > total_) return nullptr;
  const uintptr_t border = base_ + kSharedOffset, begin = reach == Reach::device ? base_ + kFirstOffset : border;
  const uintptr_t at = live_.room(begin, size, kGap);
  if (at + size > (reach == Reach::device ? border : base_ + kRangeBytes)) return nullptr;
  allow(at, size + kGap, bytes);
  live_.add(at, size);
  used_ += size;
  std::memset(reinterpret_cast<void*>(at), 0xff, bytes);
  return reinterpret_cast<void*>(at);
}

bool DeviceMemory::release(void* memory) {
  const DeviceWork work;
  const std::scoped_lock lock(mutex_);
  const uintptr_t at = number_of(memory);
  const size_t size = live_.remove(at);
  if (size == 0) return false;
  used_ -= size;
  allow(at, size, size);
  std::memset(memory, 0xff, size);  // NaN, for whoever still reads it
  allow(at, size, 0);
  return true;
}

bool DeviceMemory::contains(uintptr_t address, size_t bytes) {
  const std::scoped_lock lock(mutex_);
  return live_.contain(address, bytes);
}

std::vector<DeviceMemory*>& device_memories() {
  static std::vector<DeviceMemory*> all = [] {
    const char* text = std::getenv("TESSERA_SIMT_DEVICES");
    const int count = text == nullptr ? 1 : std::atoi(text);
    std::vector<DeviceMemory*> made;
    for (int i = 0; i < count; ++i) made.push_back(new DeviceMemory(i));
    return made;
  }();
  return all;
}

int device_of(const void* address) {
  const uintptr_t at = number_of(address);
  if (at < kFirstAddress) return -1;
  const uintptr_t device = (at - kFirstAddress) / kRangeBytes;
  return device < device_memories().size() ? static_cast<int>(device) : -1;
}

}  // namespace tessera::simt
