// What the benchmarks of whole training steps share: the models, a text to train on, and options of their own.
#pragma once

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "framework/io/atomic_file.h"
#include "trainers/config/load.h"
#include "trainers/usage_error.h"

namespace tessera {

using Arguments = std::vector<std::string>;

/// The settings of nanoGPT's model for the CPU, of a 6-layer model, or of GPT-2 with 124 million weights.
inline Arguments preset(const std::string& name) {
  Arguments shared{"--device=cpu", "--dropout=0.0", "--bias=False", "--grad_clip=1.0", "--log_interval=1"};
  const Arguments nano{"--n_layer=4", "--n_head=4", "--n_embd=128", "--block_size=64", "--batch_size=12"};
  const Arguments mid{"--n_layer=6", "--n_head=6", "--n_embd=384", "--block_size=256", "--batch_size=16"};
  const Arguments gpt2{"--n_layer=12",      "--n_head=12",    "--n_embd=768",
                       "--block_size=1024", "--batch_size=8", "--vocab_size=50304"};
  if (name != "nano" && name != "mid" && name != "gpt2")
    throw UsageError("name a model: nano, mid or gpt2; then [--key=value ...]");
  const Arguments& sizes = name == "nano" ? nano : name == "mid" ? mid : gpt2;
  shared.insert(shared.end(), sizes.begin(), sizes.end());
  return shared;
}

/// A megabyte of text in 65 different characters, which lies in a folder of its own until the program ends.
class RandomText {
 public:
  RandomText()
      : folder_(std::filesystem::temp_directory_path() / fmt::format("tessera_benchmark_{}", std::time(nullptr))) {
    std::filesystem::create_directories(folder_);
    std::string text;
    for (uint32_t state = 1; text.size() < 1'000'000; state = state * 1664525 + 1013904223) {
      text += static_cast<char>('0' + (state >> 16) % 65);
    }
    write_file(path(), text);
  }
  ~RandomText() { std::filesystem::remove_all(folder_); }
  RandomText(const RandomText&) = delete;
  RandomText& operator=(const RandomText&) = delete;

  std::filesystem::path path() const { return folder_ / "text.txt"; }

 private:
  std::filesystem::path folder_;
};

/// The value of `--name=` in `words`, which it leaves; `otherwise` where there is none.
inline double take(Arguments& words, const std::string& name, double otherwise) {
  const std::string prefix = "--" + name + "=";
  const auto at = std::find_if(words.begin(), words.end(), [&](const auto& word) { return word.starts_with(prefix); });
  if (at == words.end()) return otherwise;
  const double value = std::strtod(at->c_str() + prefix.size(), nullptr);
  if (!(value > 0)) throw UsageError(*at + ": a positive number is wanted");
  words.erase(at);
  return value;
}

/// What such a program was asked to do: the words `MODEL [--rounds=N] [--seconds=S] [--key=value ...]`.
struct TrainingSetup {
  RandomText text;
  Arguments words;  ///< of a config
  int rounds;
  double seconds;

  TrainingSetup(std::span<const std::string> arguments, double default_seconds)
      : words(preset(arguments.empty() ? "" : arguments[0])) {
    words.insert(words.end(), arguments.begin() + 1, arguments.end());
    rounds = static_cast<int>(take(words, "rounds", 3));
    seconds = take(words, "seconds", default_seconds);
    words.push_back("--data=" + text.path().string());
  }

  Config config(const std::string& more = "") const {
    Arguments all = words;
    if (!more.empty()) all.push_back(more);
    return load_config(all).config;
  }
};

}  // namespace tessera
