#include "kernels/elementwise/binary_cpu.h"
#include "kernels/elementwise/mul.h"

namespace tessera {

void Mul::operator()(Cpu) const {
  select_compute([&]<class T>() { map_binary<T>(a, b, y, [](T u, T v) { return u * v; }); }, y.dtype);
}

}  // namespace tessera
