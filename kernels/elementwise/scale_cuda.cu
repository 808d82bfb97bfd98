#include "kernels/elementwise/map.cuh"
#include "kernels/elementwise/scale.h"

namespace tessera {
namespace {

struct Times {
  double factor;
  template <class T>
  __device__ T operator()(T x) const {
    return x * static_cast<T>(factor);
  }
};

}  // namespace

void Scale::operator()(Cuda cuda) const {
  select_compute([&]<class T>() { map_on_device<T>("scale", cuda, x, y, Times{factor}); }, x.dtype, y.dtype);
}

}  // namespace tessera
