#include "framework/ops.h"

namespace tessera::ops {

Variable to_device(const Variable& x, Device device) {
  if (x.device() == device) return x;
  return record(
      "to_device", x.value().to(device),
      [home = x.device()](const Tensor& dy, GradientSlot dx) {
        if (dx.wanted()) dx.add(dy.to(home));
      },
      x);
}

}  // namespace tessera::ops
