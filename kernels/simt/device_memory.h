// The memory of emulated devices, and host memory that they copy from and to by themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace tessera::simt {

/// Blocks of memory that are in use.
class LiveBlocks {
 public:
  void add(uintptr_t begin, size_t bytes) { blocks_[begin] = bytes; }
  /// The bytes of the block that began there, which is forgotten; 0: there was none.
  size_t remove(uintptr_t begin);
  /// Whether [at, at + bytes) belongs to one block.
  bool contain(uintptr_t at, size_t bytes) const;
  /// The first address from `at` on with room for `bytes` and a gap of `gap` bytes between all blocks.
  uintptr_t room(uintptr_t at, size_t bytes, size_t gap) const;

 private:
  std::map<uintptr_t, size_t> blocks_;
};

class PinnedMemory {
 public:
  void add(const void* memory, size_t bytes);
  void remove(const void* memory);
  bool contains(const void* memory, size_t bytes);

 private:
  std::mutex mutex_;
  LiveBlocks blocks_;
};
PinnedMemory& pinned_memory();

/// One device: a range of addresses that no other memory of the process has. The first limit of what it holds is
/// TESSERA_SIMT_MEMORY, in bytes.
class DeviceMemory {
 public:
  enum class Reach { device, both };  ///< who may touch a block: see guard.h

  explicit DeviceMemory(int device);

  /// Holds NaN. Null where the limit does not allow it.
  void* allocate(size_t bytes, Reach reach = Reach::device);
  /// False where no block begins there.
  bool release(void* memory);
  bool contains(uintptr_t address, size_t bytes);
  void set_limit(size_t bytes) { total_ = bytes; }
  size_t used() const { return used_; }
  size_t total() const { return total_; }

 private:
  uintptr_t base_;
  size_t total_, used_ = 0;
  std::mutex mutex_;
  LiveBlocks live_;
};

/// As many as TESSERA_SIMT_DEVICES says.
std::vector<DeviceMemory*>& device_memories();

/// The device whose memory holds `address`, or -1.
int device_of(const void* address);

}  // namespace tessera::simt
