#include "kernels/common/cuda/activation.cuh"
#include "kernels/elementwise/gelu.h"
#include "kernels/elementwise/map.cuh"

namespace tessera {

void Gelu::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() {
        if (activation == Activation::gelu_tanh) map_on_device<T>("gelu", cuda, x, y, Activate<GeluTanh>{});
        else map_on_device<T>("gelu", cuda, x, y, Activate<GeluExact>{});
      },
      x.dtype, y.dtype);
}

void GeluBackward::operator()(Cuda cuda) const {
  select_compute(
      [&]<class T>() {
        if (activation == Activation::gelu_tanh)
          map_on_device<T>("gelu_backward", cuda, x, dy, dx, Activate<GeluTanh>{});
        else map_on_device<T>("gelu_backward", cuda, x, dy, dx, Activate<GeluExact>{});
      },
      x.dtype, dy.dtype, dx.dtype);
}

}  // namespace tessera
