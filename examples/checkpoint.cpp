// A training that is saved, loaded into a new model and optimizer, and goes on with the bits of one that never stopped.
#include <cstdio>

#include <nlohmann/json.hpp>

#include "tessera.h"

using namespace tessera;

// All that a training changes: the weights, the optimizer's moments and the counters of its steps.
struct Training {
  Sequential<Linear, FeedForward, Linear> model{Linear({.in = 2, .out = 32}), FeedForward({.dim = 32, .dropout = 0.1}),
                                                Linear({.in = 32, .out = 2})};
  ParameterArena arena{model, {.seed = 1}};
  Optimizer optimizer{arena, AdamW::Options{}, {.schedule = {.learning_rate = 3e-3}, .grad_clip = 1}};

  // Data and dropout follow from the number of the step.
  void run_until(int64_t end) const {
    for (int64_t step = optimizer.control().read().iteration; step < end; ++step) {
      const Tensor points = random_normal({64, 2}, static_cast<uint64_t>(step));
      std::vector<int32_t> classes(64);  // whether the signs of the coordinates agree
      for (size_t i = 0; i < 64; ++i) classes[i] = points.data<float>()[2 * i] * points.data<float>()[2 * i + 1] > 0;
      arena.begin_window();
      const Pass pass = Pass::recording({.iteration = step});
      const Variable loss = ops::cross_entropy(model(pass.input(points)), Tensor::from(classes, {64}));
      backward(loss);
      optimizer.step();
      if (step % 20 == 0) std::printf("step %2ld  loss %.4f\n", static_cast<long>(step), loss.value().item());
    }
  }

  void save(const CheckpointStore& store) const {
    store.save(arena, arena.weights(), optimizer.state_buffers(), optimizer.control().read(), {{"data", "signs"}});
  }

  void load(const std::filesystem::path& checkpoint) const {
    const CheckpointState saved = load_state(checkpoint);
    expect(saved.text_at("data") == "signs", "checkpoint: {} is of another training", checkpoint.string());
    load_model(checkpoint, arena);
    load_optimizer(checkpoint, arena, optimizer.state_buffers(), optimizer.owned());
    optimizer.control().write(saved.step);
  }
};

int main() {
  const std::filesystem::path folder = "checkpoint_example";
  const CheckpointStore store(folder, /*keep=*/2);
  const Training whole;
  whole.run_until(40);
  whole.save(store);
  whole.run_until(80);

  const Training resumed;
  resumed.load(store.latest().value());  // checkpoint_example/step_00000040
  resumed.run_until(80);
  const bool same = resumed.arena.weights().to_vector<float>() == whole.arena.weights().to_vector<float>();
  std::filesystem::remove_all(folder);
  expect(same, "checkpoint: the resumed training has other weights than the one that never stopped");
  std::printf("the same weights, bit for bit\n");
}
