// Training steps in float32, bfloat16 and float16, taken in turns: one JSON object per dtype with tokens per second
// (the best round) and how many times float32's that is, the bytes that a recorded forward pass keeps for backward, and
// the share of a step that loss scaling, the scan of the gradients and clipping take.
//
//     precision_benchmark nano|mid|gpt2 [--rounds=3] [--seconds=3] [--device=cuda, or any other key of a config file]
#include <algorithm>
#include <memory>

#include "benchmarks/training_setup.h"
#include "framework/machine.h"
#include "framework/tensor/allocator.h"
#include "trainers/command_line.h"
#include "trainers/trainer.h"

namespace tessera {
namespace {

/// Seconds per call over at least `seconds`; `body` must leave the device idle.
template <class Body>
double time_of(double seconds, Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  std::chrono::duration<double> elapsed{};
  int64_t calls = 0;
  for (; elapsed.count() < seconds; ++calls) {
    body();
    elapsed = std::chrono::steady_clock::now() - start;
  }
  return elapsed.count() / static_cast<double>(calls);
}

int64_t kept_bytes(const Trainer& trainer) {
  const Rows rows = trainer.data().micro_batches(0).front();
  const Batch batch = trainer.data().training_batch(rows);
  const Shape shape{batch.rows, trainer.config().block_size};
  const Tensor ids = Tensor::from(batch.ids, shape, trainer.device());
  const Tensor targets = Tensor::from(batch.targets, shape, trainer.device());
  const int64_t before = allocator_stats(trainer.device()).bytes_in_use;
  const Variable loss = trainer.model().loss(Pass::recording({}).input(ids), targets);
  return allocator_stats(trainer.device()).bytes_in_use - before;
}

/// One precision and the best that it showed.
struct Contender {
  std::string name;
  std::unique_ptr<Trainer> trainer;
  double step_seconds = 1e30;
  double decide_seconds = 1e30;

  void run(double seconds) {
    step_seconds = std::min(step_seconds, time_of(seconds, [&] { trainer->step(); }));
    const StepControl control(trainer->device(), step_policy(trainer->config()), trainer->state());
    decide_seconds = std::min(decide_seconds, time_of(seconds / 10, [&] {
                                control.scan(trainer->arena().gradients());
                                control.advance();
                                control.read();
                              }));
  }

  void print(double float32_seconds) const {
    fmt::print(
        "{{\"dtype\": \"{}\", \"device\": \"{}\", \"tokens_per_second\": {:.1f}, \"times_float32\": {:.3f}, "
        "\"kept_bytes\": {}, \"decide_milliseconds\": {:.4f}, \"decide_share_of_step\": {:.5f}}}\n",
        name, to_string(trainer->device()), static_cast<double>(trainer->tokens_per_step()) / step_seconds,
        float32_seconds / step_seconds, kept_bytes(*trainer), 1e3 * decide_seconds, decide_seconds / step_seconds);
  }
};

int run(std::span<const std::string> arguments) {
  const TrainingSetup setup(arguments, 3);
  std::vector<Contender> contenders;
  for (const char* dtype : {"float32", "bfloat16", "float16"}) {
    const Config config = setup.config(std::string("--dtype=") + dtype);
    set_threads(static_cast<int>(config.threads));
    contenders.push_back({dtype, std::make_unique<Trainer>(config)});
    for (int i = 0; i < 3; ++i) contenders.back().trainer->step();
  }
  for (int round = 0; round < setup.rounds; ++round) {
    for (Contender& contender : contenders) contender.run(setup.seconds);
  }
  for (const Contender& contender : contenders) contender.print(contenders.front().step_seconds);
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  return tessera::exit_code_of(tessera::run, words);
}
