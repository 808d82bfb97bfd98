#include <cmath>
#include <vector>

#include "kernels/common/parallel.h"
#include "kernels/common/rows.h"
#include "kernels/common/vector_math.h"
#include "kernels/rotary/rotary.h"

namespace tessera {
namespace {

// θ_i = base^(−2i/D), the angles by which one position differs from the next.
std::vector<double> frequencies(double base, int64_t head_size) {
  std::vector<double> theta(head_size / 2);
  for (size_t i = 0; i < theta.size(); ++i) theta[i] = std::pow(base, -2.0 * static_cast<double>(i) / head_size);
  return theta;
}

template <class T>
void angles(double position, const std::vector<double>& theta, T* cos, T* sin) {
  const int64_t half = static_cast<int64_t>(theta.size());
  if constexpr (sizeof(T) == sizeof(double)) {
    for (int64_t i = 0; i < half; ++i) {
      cos[i] = std::cos(position * theta[i]);
      sin[i] = std::sin(position * theta[i]);
    }
  } else {
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const CosSin point = fast_cos_sin(position * theta[i]);
      cos[i] = static_cast<T>(point.cos);
      sin[i] = static_cast<T>(point.sin);
    }
  }
}

template <class T>
void rotate(const T* x, const T* cos, const T* sin, int64_t half, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const T first = x[i], second = x[i + half];
    y[i] = first * cos[i] - second * sin[i];
    y[i + half] = second * cos[i] + first * sin[i];
  }
}

template <class T>
void rotate_heads(const Rotary& op, int64_t b, int64_t n, const T* cos, const T* sin, T* buffer) {
  const int64_t heads = op.x.shape[2], size = op.x.shape[3];
  const int64_t at_x = b * op.x.strides[0] + n * op.x.strides[1], at_y = b * op.y.strides[0] + n * op.y.strides[1];
  for (int64_t h = 0; h < heads; ++h) {
    const T* x = load_run(op.x, at_x + h * op.x.strides[2], size, buffer);
    T* y = target_run(op.y, at_y + h * op.y.strides[2], buffer + size);
    rotate(x, cos, sin, size / 2, y);
    store_run(y, op.y, at_y + h * op.y.strides[2], size);
  }
}

template <class T>
void run(const Rotary& op) {
  const int64_t batch = op.x.shape[0], length = op.x.shape[1], heads = op.x.shape[2], size = op.x.shape[3];
  const std::vector<double> theta = frequencies(op.base, size);
  const double turn = op.direction == RotaryDirection::forward ? 1 : -1;
  // Tokens of one position follow each other, so that its angles are formed once.
  parallel_chunks(batch * length, row_grain(heads * size), [&](int64_t begin, int64_t end) {
    const auto buffer = scratch<T>(3 * size);
    T* cos = buffer.get() + 2 * size;
    T* sin = cos + size / 2;
    int64_t formed = 0;
    for (int64_t token = begin; token < end; ++token) {
      const int64_t n = token / batch, b = token % batch;
      const int64_t offset = b * op.positions.strides[0] + n * op.positions.strides[1];
      const int64_t position = op.positions ? op.positions.as<int32_t>()[offset] : op.start + n;
      if (token == begin || position != formed) angles(turn * static_cast<double>(position), theta, cos, sin);
      formed = position;
      rotate_heads(op, b, n, cos, sin, buffer.get());
    }
  });
}

}  // namespace

void Rotary::operator()(Cpu) const {
  select_compute([&]<class T>() { run<T>(*this); }, x.dtype, y.dtype);
}

}  // namespace tessera
