// Data-parallel training without the Trainer: every rank computes the gradients of its own samples, and the reducer
// adds them up while backward still runs. Alone it is a world of one; with mpirun -n 4 it takes the same steps on 4
// ranks.
#include <cstdio>

#include "tessera.h"

using namespace tessera;

// Two classes of points: the signs of the coordinates agree, or they do not. Rank r of R takes every R-th sample.
struct Samples {
  Tensor points;   // [n, 2]
  Tensor classes;  // [n]

  Samples(int64_t count, const Communicator& ranks) {
    const Tensor all = random_normal({count, 2}, /*key=*/7);
    std::vector<float> mine;
    std::vector<int32_t> signs;
    for (int64_t i = ranks.rank(); i < count; i += ranks.world()) {
      const float x = all.data<float>()[2 * i], y = all.data<float>()[2 * i + 1];
      mine.insert(mine.end(), {x, y});
      signs.push_back(x * y > 0 ? 1 : 0);
    }
    const auto size = static_cast<int64_t>(signs.size());
    points = Tensor::from(mine, {size, 2});
    classes = Tensor::from(signs, {size});
  }
};

int main() {
  constexpr int64_t kSamples = 256;
  const std::shared_ptr<Communicator> ranks = open_communicator(Device::cpu());
  const Samples samples(kSamples, *ranks);

  // Ranks draw the same first weights from the same seed. `parts` lets gradients split evenly over the ranks.
  Sequential model(Linear({.in = 2, .out = 64}), FeedForward({.dim = 64}), Linear({.in = 64, .out = 2}));
  const ParameterArena arena(model, {.seed = 1, .parts = ranks->world()});
  GradientReducer reducer(arena, *ranks, {});
  const Optimizer optimizer(arena, AdamW::Options{}, {.schedule = {.learning_rate = 3e-3}, .grad_clip = 1});

  double loss = 0;
  for (int64_t step = 1; step <= 200; ++step) {
    const Pass pass = Pass::recording({.iteration = step});
    reducer.begin_window();
    reducer.listen(pass);  // a bucket starts when its last gradient is there
    const Variable logits = model(pass.input(samples.points));
    const Variable error = ops::cross_entropy(logits, samples.classes, {.denominator = kSamples});
    backward(error);
    reducer.finish_window();  // from here on every rank has the gradient of all samples
    optimizer.scan();
    optimizer.decide();
    optimizer.update();

    const Tensor sum = Tensor::from(std::vector<double>{error.value().item()}, {1});
    ranks->all_reduce(sum);
    loss = sum.item();
    if (step % 50 == 0 && ranks->rank() == 0) std::printf("step %ld  loss %.6f\n", static_cast<long>(step), loss);
  }
  expect(loss < 0.1, "data_parallel: the loss is still {}; it should have fallen below 0.1", loss);
}
