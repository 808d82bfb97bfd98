#include "kernels/common/host_scratch.h"

#include <new>

#include "kernels/common/error.h"

namespace tessera {
namespace {

constexpr std::align_val_t kAlignment{64};

constexpr HostScratchSource kSystem{
    .take =
        [](size_t bytes) {
          void* block = ::operator new(bytes, kAlignment, std::nothrow);
          expect(block != nullptr, "no memory for {} bytes of scratch; use smaller buckets or fewer threads", bytes);
          return block;
        },
    .give_back = [](void* block, size_t) noexcept { ::operator delete(block, kAlignment); }};

HostScratchSource source = kSystem;

}  // namespace

void set_host_scratch_source(HostScratchSource wanted) { source = wanted; }

HostScratch::HostScratch(size_t bytes)
    : source_(source), bytes_(bytes), block_(static_cast<std::byte*>(source_.take(bytes))) {}

HostScratch::~HostScratch() { source_.give_back(block_, bytes_); }

}  // namespace tessera
