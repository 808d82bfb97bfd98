// Consecutive elements of an arena's buffers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "framework/tensor/tensor.h"

namespace tessera {

/// The elements [begin, end).
struct ArenaRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  Tensor of(const Tensor& buffer) const { return buffer.slice(0, begin, end); }
  friend bool operator==(const ArenaRange&, const ArenaRange&) = default;
};

/// Calls `visit(range, offset)` for every part of `ranges` that lies in `within`; `offset` is where the part begins in
/// a buffer that holds the ranges one after the other and nothing else.
template <class Visit>
void visit_parts(const std::vector<ArenaRange>& ranges, const ArenaRange& within, Visit&& visit) {
  int64_t offset = 0;
  for (const ArenaRange& range : ranges) {
    const ArenaRange part{std::max(range.begin, within.begin), std::min(range.end, within.end)};
    if (part.begin < part.end) visit(part, offset + part.begin - range.begin);
    offset += range.size();
  }
}

/// The sizes of `ranges`, added up.
inline int64_t total_size(const std::vector<ArenaRange>& ranges) {
  int64_t size = 0;
  for (const ArenaRange& range : ranges) size += range.size();
  return size;
}

}  // namespace tessera
