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
    const auto* from = x.as<CppType<T>>();
    bool* to = y.as<bool>();
    bool binary = true;
    for (int64_t i = 0; i < x.shape[0]; ++i) {
      const auto element =
          convert_one<std::conditional_t<std::is_class_v<CppType<T>>, float, CppType<T>>>(from[i * x.strides[0]]);
      to[i * y.strides[0]] = element == 1;
      binary = binary && (element == 1 || element == 0);
    }
    if (!binary) *not_binary = 1;
  });
}

}  // namespace tessera
