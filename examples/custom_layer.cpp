// A layer of one's own, and a training loop written by hand.
#include <cstdio>

#include "tessera.h"

using namespace tessera;

// x + scale · mixer(x), with a learned scale per channel.
struct ScaledResidual {
  explicit ScaledResidual(int64_t dim) : mixer({.dim = dim}), scale({dim}, Init::ones()) {}

  FeedForward mixer;
  Parameter scale;  // [dim]

  template <class Each>
  void visit(Each&& each) {
    each("mixer", mixer);
    each("scale", scale);
  }

  Variable operator()(const Variable& x) const { return ops::add(x, ops::mul(mixer(x), scale)); }
};

int main() {
  Sequential model(Linear({.in = 2, .out = 32}), ScaledResidual(32), ScaledResidual(32), Linear({.in = 32, .out = 2}));
  ParameterArena arena(model, {.seed = 1});
  const AdamW optimizer(arena, {});
  const StepControl control({}, {.schedule = {.learning_rate = 3e-3}, .grad_clip = 1, .beta1 = 0.9, .beta2 = 0.999});

  // Two classes: the signs of the coordinates agree, or they do not.
  const Tensor points = random_normal({256, 2}, /*key=*/7);
  std::vector<int32_t> classes(256);
  for (size_t i = 0; i < 256; ++i) classes[i] = points.data<float>()[2 * i] * points.data<float>()[2 * i + 1] > 0;
  const Tensor targets = Tensor::from(classes, {256});

  double loss = 0;
  for (int64_t step = 0; step < 200; ++step) {
    const Pass pass = Pass::recording({.iteration = step});
    arena.begin_window();
    const Variable error = ops::cross_entropy(model(pass.input(points)), targets);
    backward(error);
    arena.finish_window();
    control.scan(arena.gradients());
    control.advance();
    optimizer.step(control.device_state());
    loss = error.value().item();
    if (step % 40 == 0) std::printf("step %3ld  loss %.4f\n", static_cast<long>(step), loss);
  }
  std::printf("step 200  loss %.4f\n", loss);
  expect(loss < 0.1, "custom_layer: the loss is still {}; it should have fallen below 0.1", loss);
}
