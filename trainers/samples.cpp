#include "trainers/samples.h"

#include <fmt/format.h>

#include "framework/error.h"
#include "framework/io/file.h"
#include "trainers/sampler.h"

namespace tessera {
namespace {

// The text to continue: as it stands, or the content of a file.
std::string prompt_of(const Config& config) {
  if (!config.start.starts_with("FILE:")) return config.start;
  const std::string path = config.start.substr(5);
  try {
    return read_file(path);
  } catch (const Error& failure) {
    fail("start: {}", failure.what());
  }
}

// The tokens to continue. The default prompt, a new line, is not in every vocabulary; the first token stands in for it.
std::vector<int32_t> prompt_tokens(const Tokenizer& tokenizer, const Config& config) {
  const std::string text = prompt_of(config);
  const bool is_default = text == Config().start;
  try {
    std::vector<int32_t> tokens = tokenizer.encode(text, {.name = "the prompt (start)"});
    if (!tokens.empty()) return tokens;
    expect(is_default, "the prompt (start): it holds no token; write some text");
  } catch (const Error&) {
    if (!is_default) throw;
  }
  return {0};
}

}  // namespace

std::string draw_samples(const LanguageModel& model, const Tokenizer& tokenizer, const Config& config, int64_t count) {
  const std::vector<int32_t> prompt = prompt_tokens(tokenizer, config);
  const SamplingOptions options{.max_new_tokens = config.max_new_tokens,
                                .temperature = config.temperature,
                                .top_k = config.top_k,
                                .top_p = config.top_p,
                                .vocab_size = tokenizer.vocab_size(),
                                .seed = static_cast<uint64_t>(config.seed)};
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<int32_t> tokens = prompt;
    const std::vector<int32_t> continuation = generate(model, prompt, options, static_cast<uint64_t>(i));
    tokens.insert(tokens.end(), continuation.begin(), continuation.end());
    text += (i > 0 ? "\n---------------\n" : "") + tokenizer.decode(tokens);
  }
  return text;
}

void append_samples(const std::filesystem::path& folder, int64_t step, const std::string& text) {
  AppendFile(folder / "samples.txt").append(fmt::format("=== step {} ===\n{}\n\n", step, text));
}

}  // namespace tessera
