// The one place where a run-time value becomes a compile-time constant: dtypes, head sizes, flags.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "kernels/common/dtype.h"
#include "kernels/common/error.h"

namespace tessera {

/// Calls `body.operator()<V>()` with the one of `Values` that equals `value`; an `Error` that names `what` and the
/// accepted values if none does.
///
///     select<DType::f32, DType::bf16>("gelu", x.dtype, [&]<DType T>() { gelu(x.as<CppType<T>>(), n); });
template <auto... Values, class Value, class Body>
void select(std::string_view what, Value value, Body&& body) {
  const bool found = ((Values == value && (body.template operator()<Values>(), true)) || ...);
  if (found) [[likely]]
    return;
  std::string accepted;
  ((accepted += (accepted.empty() ? "" : ", ") + MessageValue(Values).text), ...);
  fail("{}: {} is not supported; use one of {}", what, value, accepted);
}

/// `select` over the floating dtypes.
template <class Body>
void select_float(std::string_view what, DType value, Body&& body) {
  select<DType::f32, DType::bf16, DType::f16, DType::f64>(what, value, std::forward<Body>(body));
}

}  // namespace tessera
