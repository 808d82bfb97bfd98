#include "kernels/common/activation_math.h"
#include "kernels/elementwise/gelu.h"
#include "kernels/elementwise/map_cpu.h"

namespace tessera {

void Gelu::operator()(Cpu) const {
  select_compute(
      [&]<class T>() {
        if (activation == Activation::gelu_tanh) map<T>(x, y, [](T v) { return gelu_tanh(v); });
        else map<T>(x, y, [](T v) { return gelu_exact(v); });
      },
      x.dtype);
}

void GeluBackward::operator()(Cpu) const {
  select_compute(
      [&]<class T>() {
        if (activation == Activation::gelu_tanh) map<T>(x, dy, dx, [](T v, T d) { return d * gelu_tanh_slope(v); });
        else map<T>(x, dy, dx, [](T v, T d) { return d * gelu_exact_slope(v); });
      },
      x.dtype);
}

}  // namespace tessera
