#include "kernels/elementwise/binary.cuh"
#include "kernels/elementwise/mul.h"

namespace tessera {
namespace {

struct MulFunction {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a * b;
  }
};

}  // namespace

void Mul::operator()(Cuda cuda) const { binary_on_device("mul", cuda, a, b, y, MulFunction{}); }

}  // namespace tessera
