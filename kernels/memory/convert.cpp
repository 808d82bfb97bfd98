#include "kernels/memory/convert.h"

#include <cstring>

#include "kernels/common/rows.h"

namespace tessera {
namespace {

template <class From, class To>
void convert_each(const From* from, To* to, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = convert_one<To>(from[i]);
}

}  // namespace

void convert(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n) {
  if (from_dtype == to_dtype) {
    std::memcpy(to, from, static_cast<size_t>(n * size_of(to_dtype)));
  } else if (is_floating(from_dtype) && to_dtype == DType::f32) {
    convert_in(from, from_dtype, 1, n, static_cast<float*>(to));
  } else if (from_dtype == DType::f32 && is_floating(to_dtype)) {
    convert_out(static_cast<const float*>(from), n, to, to_dtype, 1);
  } else {
    select_any(from_dtype, [&]<DType From>() {
      select_any(to_dtype, [&]<DType To>() {
        convert_each(static_cast<const CppType<From>*>(from), static_cast<CppType<To>*>(to), n);
      });
    });
  }
}

}  // namespace tessera
