// An op of one's own, forward and backward in one function, checked against numerical gradients.
#include <cmath>
#include <cstdio>

#include "tessera.h"

using namespace tessera;

// snake(x) = x + sin²(x), elementwise: a wave on a line (Ziyin et al., "Neural networks fail to learn periodic
// functions and how to fix it", 2020). Its slope is 1 + sin(2x).
Variable snake(const Variable& x) {
  const auto each = [](const Tensor& in, auto function) {
    Tensor out = in.contiguous_copy();
    for (int64_t i = 0; i < out.numel(); ++i) out.data<double>()[i] = function(out.data<double>()[i]);
    return out;
  };
  const Tensor y = each(x.value(), [](double v) { return v + std::sin(v) * std::sin(v); });
  return record(
      "snake", y,
      [kept = x.value(), each](const Tensor& dy, GradientSlot dx) {
        const Tensor slope = each(kept, [](double v) { return 1 + std::sin(2 * v); });
        const Tensor gradient = dy.contiguous_copy();
        for (int64_t i = 0; i < gradient.numel(); ++i) gradient.data<double>()[i] *= slope.data<double>()[i];
        dx.add(gradient);
      },
      x);
}

int main() {
  const Tensor x = random_normal({4, 3}, /*key=*/1).to(DType::f64);
  const GradcheckResult result = gradcheck([](std::span<const Variable> in) { return snake(in[0]); }, std::span(&x, 1));
  expect(result.ok, "custom_op: {}", result.message);
  std::printf("the gradient of snake agrees with the numerical one\n");
}
