// On the CPU, where a product has no epilogue to speak of, one kernel after the other.
#include "kernels/matmul/linear_gradients.h"

#include "kernels/matmul/linear_parts.h"

namespace tessera {

void LinearWeightGradient::operator()(Cpu cpu) const {
  linear::weight_product (*this)(cpu);
  if (dbias) linear::row_sum(dy, dbias, dbias_beta)(cpu);
}

void LinearActivationGradient::operator()(Cpu cpu) const {
  linear::input_product (*this)(cpu);
  linear::activation_slope (*this)(cpu);
}

}  // namespace tessera
