#include "kernels/common/activation_math.h"
#include "kernels/elementwise/map_cpu.h"
#include "kernels/elementwise/silu.h"

namespace tessera {

void Silu::operator()(Cpu) const {
  select_compute([&]<class T>() { map<T>(x, y, [](T v) { return silu(v); }); }, x.dtype);
}

void SiluBackward::operator()(Cpu) const {
  select_compute([&]<class T>() { map<T>(x, dy, dx, [](T v, T d) { return d * silu_slope(v); }); }, x.dtype);
}

}  // namespace tessera
