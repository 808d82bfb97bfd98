// What the element-by-element ops of two inputs share: the shape and dtype of the result, and the way back.
#pragma once

#include "framework/autograd/autograd.h"

namespace tessera::ops {

/// The shape that both broadcast to (axes aligned at the last; an extent of 1 stretches). Throws where there is none,
/// or where it has more than four axes.
Shape broadcast_shape(const char* op, const Variable& a, const Variable& b);

/// f64 if either is, the dtype itself if both agree, else f32. A parameter takes the dtype of the activation it meets.
DType common_dtype(const char* op, const Variable& a, const Variable& b);

/// Contributes `gradient`, summed over the axes along which an input of `shape` was stretched, as `dtype`.
void add_reduced(const Tensor& gradient, const Shape& shape, DType dtype, GradientSlot& slot);

}  // namespace tessera::ops
