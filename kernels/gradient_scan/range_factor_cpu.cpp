#include "kernels/gradient_scan/range_factor.h"

namespace tessera {

void RangeFactor::operator()(Cpu) const {
  const double exponent = range_exponent(scan->squared_norm, n);
  factors[0] = static_cast<float>(std::exp2(exponent));
  factors[1] = static_cast<float>(std::exp2(-exponent));
}

}  // namespace tessera
