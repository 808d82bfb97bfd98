// On the CPU an activation's slope is applied panel by panel; the bias gradient is a kernel of its own.
#include "kernels/matmul/linear_gradients.h"

#include "kernels/matmul/linear_parts.h"
#include "kernels/matmul/panel.h"

namespace tessera {

void LinearWeightGradient::operator()(Cpu cpu) const {
  linear::weight_product (*this)(cpu);
  if (dbias) linear::row_sum(dy, dbias, dbias_beta)(cpu);
}

void LinearActivationGradient::operator()(Cpu) const {
  if (dpre.numel() == 0) return;
  run_matrix({.a = dy,
              .b = weight,
              .bias = {},
              .add = {},
              .activation = Activation::none,
              .pre_activation = {},
              .c = dpre,
              .beta = 0,
              .slope = {activation, pre, x}});
}

}  // namespace tessera
