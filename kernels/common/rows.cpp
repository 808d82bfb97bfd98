#include "kernels/common/rows.h"

#include "kernels/common/select.h"

namespace tessera {
namespace {

template <class T, class From>
T widen(From value) {
  if constexpr (sizeof(From) == 2) return static_cast<float>(value);
  else return static_cast<T>(value);
}

template <class To, class T>
To narrow(T value) {
  if constexpr (sizeof(To) == 2) return To(static_cast<float>(value));
  else return static_cast<To>(value);
}

template <class T, class From>
void widen_run(const From* from, int64_t n, T* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = widen<T>(from[i]);
}

template <class T, class To>
void narrow_run(const T* from, int64_t n, To* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = narrow<To>(from[i]);
}

#ifdef __F16C__
// Eight at a time in hardware: the scalar f16 conversion does not vectorise by itself.
void widen_run(const Half* from, int64_t n, float* to) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  for (; i < n; ++i) to[i] = static_cast<float>(from[i]);
}

void narrow_run(const float* from, int64_t n, Half* to) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
  for (; i < n; ++i) to[i] = Half(from[i]);
}
#endif

}  // namespace

template <class T>
void convert_in(const void* from, DType dtype, int64_t stride, int64_t n, T* to) {
  select_float("dtype", dtype, [&]<DType From>() {
    const auto* elements = static_cast<const CppType<From>*>(from);
    if (stride == 1) return widen_run(elements, n, to);
    for (int64_t i = 0; i < n; ++i) to[i] = widen<T>(elements[i * stride]);
  });
}

template <class T>
void convert_out(const T* from, int64_t n, void* to, DType dtype, int64_t stride) {
  select_float("dtype", dtype, [&]<DType To>() {
    auto* elements = static_cast<CppType<To>*>(to);
    if (stride == 1) return narrow_run(from, n, elements);
    for (int64_t i = 0; i < n; ++i) elements[i * stride] = narrow<CppType<To>>(from[i]);
  });
}

template void convert_in(const void*, DType, int64_t, int64_t, float*);
template void convert_in(const void*, DType, int64_t, int64_t, double*);
template void convert_out(const float*, int64_t, void*, DType, int64_t);
template void convert_out(const double*, int64_t, void*, DType, int64_t);

}  // namespace tessera
