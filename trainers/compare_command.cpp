// `tessera compare`: which words hold for which side, and the table.
#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "framework/machine.h"
#include "trainers/compare.h"
#include "trainers/config/option.h"
#include "trainers/unused_keys.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

struct SortedWords {
  std::vector<std::string> a, b;
  int64_t steps = 3;
};

// What b computes with while its weights and rows are those of a.
constexpr std::array kOfOneSide = {
    "dtype",    "residual_dtype", "master_weights", "loss_scale",    "init_scale",    "device",
    "parallel", "devices",        "q_bucket_size",  "k_bucket_size", "deterministic", "recompute",
    "dropout",  "activation",     "norm",           "softcap",       "window"};

// Every other key would hold for both sides or for none.
void refuse_for_one_side(const std::string& word) {
  const std::string key = word.substr(4, word.find('=') - 4);
  if (!find_option(key) || std::ranges::find(kOfOneSide, key) != kOfOneSide.end()) return;
  throw UsageError(
      fmt::format("compare: {} cannot hold for one side alone; write --{} for both (those that can are {})",
                  word.substr(0, word.find('=')), key, fmt::join(kOfOneSide, ", ")));
}

// `--a.key=value` and `--b.key=value` belong to one side, every other word to both.
SortedWords sort_words(std::span<const std::string> arguments) {
  constexpr std::string_view kSteps = "--steps=";
  SortedWords words;
  for (const std::string& word : arguments) {
    if (word.starts_with(kSteps)) {
      if (!parse_integer(word.substr(kSteps.size()), words.steps) || words.steps < 1)
        throw UsageError("compare: " + word + ": a number of steps is wanted, at least 1");
      continue;
    }
    const bool only_a = word.starts_with("--a."), only_b = word.starts_with("--b.");
    if (only_a || only_b) refuse_for_one_side(word);
    if (!only_b) words.a.push_back(only_a ? "--" + word.substr(4) : word);
    if (!only_a) words.b.push_back(only_b ? "--" + word.substr(4) : word);
  }
  return words;
}

std::string in_words(const BoundedError& error) {
  return fmt::format("{:8.1e} of {:7.1e}{}", error.error, error.limit, error.within() ? "  " : " !");
}

}  // namespace

int run_compare(std::span<const std::string> arguments) {
  const SortedWords words = sort_words(arguments);
  const LoadedConfig loaded = load_config(words.a);
  tell_unused(loaded, "compare", {"Model", "Data", "Optimization", "Machine", "Precision"});
  const Config &a = loaded.config, b = load_config(words.b).config;
  set_threads(static_cast<int>(a.threads));
  std::vector<std::pair<double, double>> losses;
  const std::vector<LayerError> rows = compare_steps(a, b, words.steps, losses);
  for (size_t step = 0; step < losses.size(); ++step)
    fmt::print("step {}: loss {:.6f} and {:.6f}\n", step + 1, losses[step].first, losses[step].second);
  fmt::print("\nrelative error of b at its worst step, and the most that is right for its dtype\n");
  fmt::print("{:<36} {:<16} {:<24} {}\n", "layer", "op", "activation", "gradient");
  int64_t above = 0;
  for (const LayerError& row : rows) {
    fmt::print("{:<36} {:<16} {:<24} {}\n", row.layer, row.op, in_words(row.activation),
               row.gradient ? in_words(*row.gradient) : "");
    above += row.within() ? 0 : 1;
  }
  if (above == 0) fmt::print("\nevery layer is within its limits\n");
  else fmt::print("\n{} of {} rows are above their limit (marked !)\n", above, rows.size());
  return above == 0 ? 0 : 1;
}

}  // namespace tessera
