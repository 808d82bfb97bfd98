// Whole training steps, as `tessera train` takes them, on random text: one JSON object per round with tokens per
// second, the share of the multiply-add peak measured around that round, and the peak memory of the process so far.
//
//     training_benchmark nano|mid [--rounds=3] [--seconds=5] [--dtype=bfloat16, or any other key of a config file]
//
// Operations per token: 6 per weight in a matrix product, and attention's 6·n_layer·n_embd·block_size.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include <fmt/format.h>

#include "framework/io/atomic_file.h"
#include "framework/machine.h"
#include "trainers/command_line.h"
#include "trainers/config/load.h"
#include "trainers/trainer.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

using Words = std::vector<std::string>;

Words preset(const std::string& name) {
  Words shared{"--device=cpu", "--dropout=0.0", "--bias=False", "--grad_clip=1.0", "--log_interval=1"};
  const Words nano{"--n_layer=4", "--n_head=4", "--n_embd=128", "--block_size=64", "--batch_size=12"};
  const Words mid{"--n_layer=6", "--n_head=6", "--n_embd=384", "--block_size=256", "--batch_size=16"};
  if (name != "nano" && name != "mid") throw UsageError("usage: training_benchmark nano|mid [--key=value ...]");
  const Words& sizes = name == "nano" ? nano : mid;
  shared.insert(shared.end(), sizes.begin(), sizes.end());
  return shared;
}

/// A megabyte of text in 65 different characters, which lies in a folder of its own until the program ends.
class RandomText {
 public:
  RandomText() : folder_(fs::temp_directory_path() / fmt::format("tessera_benchmark_{}", std::time(nullptr))) {
    fs::create_directories(folder_);
    std::string text;
    for (uint32_t state = 1; text.size() < 1'000'000; state = state * 1664525 + 1013904223) {
      text += static_cast<char>('0' + (state >> 16) % 65);
    }
    write_file(path(), text);
  }
  ~RandomText() { fs::remove_all(folder_); }
  RandomText(const RandomText&) = delete;
  RandomText& operator=(const RandomText&) = delete;

  fs::path path() const { return folder_ / "text.txt"; }

 private:
  fs::path folder_;
};

/// The value of `--name=` in `words`, which it leaves; `otherwise` where there is none.
double take(Words& words, const std::string& name, double otherwise) {
  const std::string prefix = "--" + name + "=";
  const auto at = std::find_if(words.begin(), words.end(), [&](const auto& word) { return word.starts_with(prefix); });
  if (at == words.end()) return otherwise;
  const double value = std::strtod(at->c_str() + prefix.size(), nullptr);
  if (!(value > 0)) throw UsageError(*at + ": a positive number is wanted");
  words.erase(at);
  return value;
}

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
  Words words = preset(arguments.empty() ? "" : arguments[0]);
  words.insert(words.end(), arguments.begin() + 1, arguments.end());
  const double rounds = take(words, "rounds", 3);
  const double seconds = take(words, "seconds", 5);
  const RandomText text;
  words.push_back("--data=" + text.path().string());
  const Config config = load_config(words).config;
  const int threads = set_threads(static_cast<int>(config.threads));
  Trainer trainer(config);
  for (int i = 0; i < 3; ++i) trainer.step();
  for (int round = 0; round < static_cast<int>(rounds); ++round) run_round(trainer, threads, seconds);
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  return tessera::exit_code_of(tessera::run, words);
}
