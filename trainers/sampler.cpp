#include "trainers/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "framework/autograd/kv_cache.h"
#include "framework/tensor/random.h"

namespace tessera {
namespace {

// Indices of the tokens that may be drawn, most likely first, with their probabilities.
struct Candidates {
  std::vector<int32_t> tokens;
  std::vector<double> probabilities;  // they add up to 1
};

void normalize(std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= sum;
}

Candidates candidates(std::span<const float> logits, const SamplingOptions& options) {
  Candidates all;
  all.tokens.resize(logits.size());
  std::iota(all.tokens.begin(), all.tokens.end(), 0);
  std::stable_sort(all.tokens.begin(), all.tokens.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(all.tokens.size())) {
    all.tokens.resize(static_cast<size_t>(options.top_k));
  }
  const double largest = logits[static_cast<size_t>(all.tokens[0])];
  for (const int32_t token : all.tokens) {
    all.probabilities.push_back(std::exp((logits[static_cast<size_t>(token)] - largest) / options.temperature));
  }
  normalize(all.probabilities);
  double reached = 0;
  for (size_t i = 0; i < all.tokens.size() && options.top_p < 1; ++i) {
    reached += all.probabilities[i];
    if (reached < options.top_p) continue;
    all.tokens.resize(i + 1);
    all.probabilities.resize(i + 1);
    normalize(all.probabilities);
  }
  return all;
}

// The logits of the token after `tokens`, of the first `vocab_size` tokens.
std::vector<float> next_logits(const LanguageModel& model, const Pass& pass, std::span<const int32_t> tokens,
                               int64_t vocab_size) {
  const Tensor ids = Tensor::from(tokens, {1, static_cast<int64_t>(tokens.size())}, model.wte.weight.value().device());
  const Tensor logits = model(pass.input(ids)).value();
  return logits.slice(1, logits.dim(1) - 1, logits.dim(1)).slice(2, 0, vocab_size).to(DType::f32).to_vector<float>();
}

double uniform_at(const SamplingOptions& options, uint64_t sample, uint64_t position) {
  Tensor word = Tensor::empty({1}, DType::f64);
  fill_uniform(word, 0, 1,
               hash_path(std::to_string(options.seed) + "/" + std::to_string(sample) + "/" + std::to_string(position)));
  return word.item();
}

}  // namespace

int32_t pick_token(std::span<const float> logits, const SamplingOptions& options, double random) {
  if (options.temperature <= 0) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  const Candidates drawn = candidates(logits, options);
  double passed = 0;
  for (size_t i = 0; i < drawn.tokens.size(); ++i) {
    passed += drawn.probabilities[i];
    if (random < passed) return drawn.tokens[i];
  }
  return drawn.tokens.back();
}

std::vector<int32_t> generate(const LanguageModel& model, std::span<const int32_t> prompt,
                              const SamplingOptions& options, uint64_t sample,
                              const std::function<void(int32_t)>& on_token) {
  expect(!prompt.empty(), "sample: the prompt is empty; give at least one character with --start");
  const int64_t block_size = model.options.block_size;
  const int64_t vocab_size = options.vocab_size > 0 ? options.vocab_size : model.options.vocab_size;
  KvCache cache(block_size);
  const Pass pass = Pass::inference(options.use_cache ? &cache : nullptr);
  std::vector<int32_t> text(prompt.begin(), prompt.end());
  const auto last = [&](int64_t count) {
    return std::span<const int32_t>(text).last(static_cast<size_t>(std::min<int64_t>(count, std::ssize(text))));
  };
  std::span<const int32_t> unseen = last(block_size);
  for (int64_t i = 0; i < options.max_new_tokens; ++i) {
    const std::vector<float> logits = next_logits(model, pass, unseen, vocab_size);
    const int32_t token = pick_token(logits, options, uniform_at(options, sample, static_cast<uint64_t>(i)));
    text.push_back(token);
    if (on_token) on_token(token);
    if (!options.use_cache) {
      unseen = last(block_size);
    } else if (cache.length() == block_size) {  // full: start again from the later half of what was in sight
      cache.clear();
      unseen = last(std::max<int64_t>(1, block_size / 2));
    } else {
      unseen = last(1);
    }
  }
  return {text.begin() + std::ssize(prompt), text.end()};
}

}  // namespace tessera
