#include "framework/tensor/shape.h"

namespace tessera {

int64_t Shape::numel() const {
  constexpr int64_t kMost = int64_t{1} << 60;  // an element has at most eight bytes
  int64_t n = 1;
  for (const int64_t extent : *this) {
    const bool counted = !__builtin_mul_overflow(n, extent, &n) && n <= kMost;
    expect(counted, "tensor: the shape {} has more than 2^60 elements, which no memory holds; make it smaller", *this);
  }
  return n;
}

}  // namespace tessera
