#include "framework/tensor/random.h"

#include <cmath>
#include <numbers>

#include "kernels/common/parallel.h"
#include "kernels/common/philox.h"

namespace tessera {
namespace {

// Draws on the host in double, four elements per Philox call, and moves the result: initial values are drawn once.
template <class FourOf>
void fill_by_fours(const Tensor& tensor, uint64_t key, FourOf&& four_of) {
  const Tensor host = Tensor::empty({tensor.numel()}, DType::f64);
  auto* values = host.data<double>();
  const int64_t n = tensor.numel();
  parallel_for((n + 3) / 4, 4096, [&](int64_t group) {
    const auto index = static_cast<uint64_t>(group);
    double four[4];
    four_of(philox(key, {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), 0, 0}), four);
    for (int64_t i = 0; i < 4 && group * 4 + i < n; ++i) values[group * 4 + i] = four[i];
  });
  tensor.view({-1}).copy_from(host.to(tensor.dtype()).to(tensor.device()));
}

double open_uniform(uint32_t word) { return (word + 0.5) * 0x1p-32; }  // in (0, 1): safe under a logarithm

}  // namespace

void fill_normal(const Tensor& tensor, double standard_deviation, uint64_t key) {
  fill_by_fours(tensor, key, [&](Words w, double* out) {
    const uint32_t words[4] = {w.x, w.y, w.z, w.w};
    for (int pair = 0; pair < 4; pair += 2) {
      const double radius = standard_deviation * std::sqrt(-2 * std::log(open_uniform(words[pair])));
      const double angle = 2 * std::numbers::pi * open_uniform(words[pair + 1]);
      out[pair] = radius * std::cos(angle);
      out[pair + 1] = radius * std::sin(angle);
    }
  });
}

void fill_uniform(const Tensor& tensor, double low, double high, uint64_t key) {
  fill_by_fours(tensor, key, [&](Words w, double* out) {
    const uint32_t words[4] = {w.x, w.y, w.z, w.w};
    for (int i = 0; i < 4; ++i) out[i] = low + (high - low) * (words[i] * 0x1p-32);
  });
}

Tensor random_normal(const Shape& shape, uint64_t key, DType dtype, Device device) {
  Tensor tensor = Tensor::empty(shape, dtype, device);
  fill_normal(tensor, 1, key);
  return tensor;
}

}  // namespace tessera
