#include "modules/linear.h"

#include <cmath>

namespace tessera {

Linear::Linear(const Options& options) {
  expect(options.in > 0 && options.out > 0, "Linear: in and out must be positive, not {} and {}", options.in,
         options.out);
  const Init uniform = Init::uniform(1 / std::sqrt(static_cast<double>(options.in)));
  weight = Parameter({options.out, options.in}, options.init.value_or(uniform));
  if (options.bias) bias = Parameter({options.out}, options.init ? Init::zeros() : uniform);
}

}  // namespace tessera
