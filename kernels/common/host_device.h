// Marks a function as callable from device code too, where the compiler knows what that is.
#pragma once

#ifdef __CUDACC__
#define TESSERA_HOST_DEVICE __host__ __device__
#else
#define TESSERA_HOST_DEVICE
#endif

namespace tessera {

/// std::bit_cast, usable in device code.
template <class To, class From>
TESSERA_HOST_DEVICE constexpr To bits_as(const From& value) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, value);
}

}  // namespace tessera
