// +, − and * for activations, parameters and constants: what `framework/ops.h` calls add, scale and mul, with their
// broadcasting and dtypes.
#pragma once

#include "framework/ops.h"

namespace tessera {

inline Variable operator+(const Variable& a, const Variable& b) { return ops::add(a, b); }
inline Variable operator*(const Variable& a, const Variable& b) { return ops::mul(a, b); }
inline Variable operator*(double factor, const Variable& x) { return ops::scale(x, factor); }
inline Variable operator*(const Variable& x, double factor) { return ops::scale(x, factor); }
inline Variable operator/(const Variable& x, double divisor) { return ops::scale(x, 1 / divisor); }
inline Variable operator-(const Variable& x) { return ops::scale(x, -1); }
inline Variable operator-(const Variable& a, const Variable& b) { return ops::add(a, -b); }

}  // namespace tessera
