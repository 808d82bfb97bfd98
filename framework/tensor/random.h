// Random tensors: every element is a pure function of (key, index), the same on every device.
#pragma once

#include "framework/tensor/tensor.h"

namespace tessera {

/// Normal with mean 0 (Box-Muller on Philox words), into a contiguous floating tensor.
void fill_normal(const Tensor& tensor, double standard_deviation, uint64_t key);
/// Uniform in [low, high), into a contiguous floating tensor.
void fill_uniform(const Tensor& tensor, double low, double high, uint64_t key);

/// A new tensor of standard normal numbers.
Tensor random_normal(const Shape& shape, uint64_t key, DType dtype = DType::f32, Device device = {});

}  // namespace tessera
