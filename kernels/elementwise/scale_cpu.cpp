#include "kernels/elementwise/map_cpu.h"
#include "kernels/elementwise/scale.h"

namespace tessera {

void Scale::operator()(Cpu) const {
  select_compute(
      [&]<class T>() {
        const T by = static_cast<T>(factor);
        map<T>(x, y, [by](T v) { return v * by; });
      },
      x.dtype, y.dtype);
}

}  // namespace tessera
