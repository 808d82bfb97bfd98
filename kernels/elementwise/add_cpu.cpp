#include "kernels/elementwise/add.h"
#include "kernels/elementwise/binary_cpu.h"

namespace tessera {

void Add::operator()(Cpu) const {
  select_compute([&]<class T>() { map_binary<T>(a, b, y, [](T u, T v) { return u + v; }); }, y.dtype);
}

}  // namespace tessera
