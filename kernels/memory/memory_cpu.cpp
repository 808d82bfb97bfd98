#include <cstring>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/memory/convert.h"
#include "kernels/memory/memory.h"

namespace tessera {

void Fill::operator()(Cpu) const {
  select_any(y.dtype, [&]<DType T>() {
    const auto element = convert_one<CppType<T>>(value);
    auto* const to = y.as<CppType<T>>();
    const int64_t stride = y.strides[0];
    parallel_chunks(y.shape[0], kElementGrain, [&](int64_t begin, int64_t end) {
      if (stride == 1) std::fill(to + begin, to + end, element);
      else
        for (int64_t i = begin; i < end; ++i) to[i * stride] = element;
    });
  });
}

void ToMask::operator()(Cpu) const {
  select_any(x.dtype, [&]<DType T>() {
    using Number = std::conditional_t<is_16bit_float(T), float, CppType<T>>;
    const auto* from = x.as<CppType<T>>();
    bool* to = y.as<bool>();
    parallel_chunks(x.shape[0], kElementGrain, [&](int64_t begin, int64_t end) {
      bool binary = true;
      for (int64_t i = begin; i < end; ++i) {
        const auto element = convert_one<Number>(from[i * x.strides[0]]);
        to[i * y.strides[0]] = element == 1;
        binary &= element == 1 || element == 0;
      }
      if (binary) return;
#pragma omp atomic write
      *not_binary = 1;
    });
  });
}

}  // namespace tessera
