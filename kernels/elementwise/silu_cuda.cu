#include "kernels/common/cuda/activation.cuh"
#include "kernels/elementwise/map.cuh"
#include "kernels/elementwise/silu.h"

namespace tessera {

void Silu::operator()(Cuda cuda) const {
  select_compute([&]<class T>() { map_on_device<T>("silu", cuda, x, y, Activate<SiluFunction>{}); }, x.dtype, y.dtype);
}

void SiluBackward::operator()(Cuda cuda) const {
  select_compute([&]<class T>() { map_on_device<T>("silu_backward", cuda, x, dy, dx, Activate<SiluFunction>{}); },
                 x.dtype, dy.dtype, dx.dtype);
}

}  // namespace tessera
