// Whole training steps, as `tessera train` takes them, on random text: one JSON object per round with tokens per
// second, the share of the multiply-add peak measured around that round, and the peak memory of the process so far.
//
//     training_benchmark nano|mid|gpt2 [--rounds=3] [--seconds=5] [--dtype=bfloat16, or any other key of a config file]
//
// Operations per token: 6 per weight in a matrix product, and attention's 6·n_layer·n_embd·block_size.
#include <algorithm>

#include "benchmarks/training_setup.h"
#include "framework/machine.h"
#include "trainers/command_line.h"
#include "trainers/trainer.h"

namespace tessera {
namespace {

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// Steps for at least `seconds`, and prints what they took.
void run_round(Trainer& trainer, int threads, double seconds) {
  const double peak_before = measured_fma_peak_gflops(threads);
  const auto start = std::chrono::steady_clock::now();
  const double cpu_start = cpu_seconds();
  std::chrono::duration<double> elapsed{};
  int64_t steps = 0;
  for (; elapsed.count() < seconds; ++steps) {
    trainer.step();
    elapsed = std::chrono::steady_clock::now() - start;
  }
  const double cpu = cpu_seconds() - cpu_start;
  const double peak = std::max(peak_before, measured_fma_peak_gflops(threads));
  const auto tokens = static_cast<double>(steps * trainer.tokens_per_step());
  const double work = 1e-9 * flops_per_token(trainer.model()) * tokens;
  fmt::print(
      "{{\"tokens_per_second\": {:.1f}, \"milliseconds_per_step\": {:.3f}, \"cpu_milliseconds_per_step\": {:.3f}, "
      "\"peak_gflops\": {:.1f}, \"share_of_peak\": {:.4f}, \"share_of_peak_by_cpu_time\": {:.4f}, "
      "\"peak_rss_bytes\": {}}}\n",
      tokens / elapsed.count(), 1e3 * elapsed.count() / static_cast<double>(steps),
      1e3 * cpu / static_cast<double>(steps), peak, work / elapsed.count() / peak, work / cpu * threads / peak,
      peak_resident_bytes());
  std::fflush(stdout);
}

int run(std::span<const std::string> arguments) {
  const TrainingSetup setup(arguments, 5);
  const Config config = setup.config();
  const int threads = set_threads(static_cast<int>(config.threads));
  Trainer trainer(config);
  for (int i = 0; i < 3; ++i) trainer.step();
  for (int round = 0; round < setup.rounds; ++round) run_round(trainer, threads, setup.seconds);
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  return tessera::exit_code_of(tessera::run, words);
}
