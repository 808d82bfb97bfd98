// Training in float16 with the loss scaler used by hand, in the order of PyTorch's torch.amp.GradScaler.
#include <cstdio>

#include "tessera.h"

using namespace tessera;

int main() {
  Sequential model(Linear({.in = 2, .out = 64}), FeedForward({.dim = 64}), Linear({.in = 64, .out = 2}));
  const ParameterArena arena(model, {.seed = 1, .mirror = DType::f16});  // float32 weights beside a float16 copy
  const Optimizer optimizer(arena, AdamW::Options{}, {.schedule = {.learning_rate = 3e-3}, .grad_clip = 1});
  GradScaler scaler({.init_scale = 0x1p30, .growth_interval = 100});  // far too large: it finds its value

  // Two classes: the signs of the coordinates agree, or they do not.
  const Tensor points = random_normal({256, 2}, /*key=*/7);
  std::vector<int32_t> classes(256);
  for (size_t i = 0; i < 256; ++i) classes[i] = points.data<float>()[2 * i] * points.data<float>()[2 * i + 1] > 0;
  const Tensor targets = Tensor::from(classes, {256});

  double loss = 0;
  for (int64_t step = 1; step <= 300; ++step) {
    arena.begin_window();
    const Pass pass = Pass::recording({.iteration = step});
    const Variable logits = model(pass.input(points.to(DType::f16)));
    const Variable error = ops::cross_entropy(logits, targets);
    backward(scaler.scale(error));
    const UnscaleReport report = scaler.unscale(optimizer);  // optional: to look at the gradients
    const bool applied = scaler.step(optimizer);             // skips where one of them is not finite
    scaler.update();
    loss = error.value().item();
    if (!applied) std::printf("step %ld skipped, the scale is now %g\n", step, scaler.scale_value());
    else if (step % 50 == 0) std::printf("step %ld  loss %.4f  gradient norm %.3f\n", step, loss, report.norm);
  }
  expect(loss < 0.1, "grad_scaler: the loss is still {}; it should have fallen below 0.1", loss);
}
