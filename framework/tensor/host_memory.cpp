#include "framework/tensor/host_memory.h"

#include <cstdlib>

#include <sys/mman.h>

namespace tessera {
namespace {

constexpr size_t kLargePage = size_t{2} << 20;
constexpr size_t kSlab = 8 * kLargePage;

bool is_cut(size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  return bytes == 0;  // a block of its own, so that reaching beyond it is noticed
#else
  return bytes < kLargePage;
#endif
}

/// Whole large pages where the block fills them; its end stays in small ones, so no more is resident than was touched.
void* take_block(size_t bytes) {
  void* block = nullptr;
  if (posix_memalign(&block, bytes < kLargePage ? 64 : kLargePage, bytes) != 0) return nullptr;
  if (bytes >= kLargePage)
    madvise(block, bytes / kLargePage * kLargePage, MADV_HUGEPAGE);  // a refusal costs only speed
  return block;
}

}  // namespace

void* take_host_memory(size_t bytes) {
  if (!is_cut(bytes)) return take_block(bytes);
  static std::byte* next = nullptr;
  static size_t left = 0;
  if (bytes > left) {
    next = static_cast<std::byte*>(take_block(kSlab));
    left = next != nullptr ? kSlab : 0;
  }
  if (next == nullptr) return nullptr;
  void* block = next;
  next += bytes;
  left -= bytes;
  return block;
}

bool give_back_host_memory(void* block, size_t bytes) {
  if (is_cut(bytes)) return false;
  std::free(block);
  return true;
}

}  // namespace tessera
