// Fill, copy and convert memory:
//
//     Fill     y[i] = value
//     Copy     y[i] = x[i], converted to y's dtype
//     ToMask   y[i] = x[i] == 1, and says whether every x[i] was 0 or 1
//
// Conversions: between floats to nearest, ties to even (f64 to 16 bit through f32); float to integer truncates towards
// zero (out of range: unspecified); integer to integer keeps the low bits; anything to boolean is x ≠ 0 (NaN is true).
#pragma once

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace tessera {

/// Writes one value everywhere.
struct Fill {
  Out<1> y;      ///< [N], any dtype, any stride
  double value;  ///< converted to y's dtype

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

/// Copies between any two layouts and dtypes. Leading dimensions that are not needed have extent 1.
struct Copy {
  In<5> x;   ///< any dtype, any strides; stride 0 broadcasts
  Out<5> y;  ///< x's extents, any dtype, any strides; no two elements share an address; does not overlap x

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

/// Makes a boolean mask of a numeric one.
struct ToMask {
  In<1> x;              ///< [N], any dtype, any stride
  Out<1> y;             ///< [N], boolean, any stride; true where x is 1
  int32_t* not_binary;  ///< lives where the kernel runs; set to 1 if any x is neither 0 nor 1, else left as it is

  void operator()(Cpu) const;
  void operator()(Cuda) const;
};

}  // namespace tessera
