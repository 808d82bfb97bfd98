// Text from a model: one token at a time, with a KV cache.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "modules/language_model.h"

namespace tessera {

struct SamplingOptions {
  int64_t max_new_tokens = 500;
  double temperature = 0.8;  ///< divides the logits; 0 takes the most likely token
  int64_t top_k = 200;       ///< only the k most likely tokens; 0: all
  double top_p = 1;          ///< only the most likely tokens that together reach this probability; 1: all
  int64_t vocab_size = 0;    ///< only the first tokens of the model's, which may have more than have a text; 0: all
  uint64_t seed = 1337;
  bool use_cache = true;  ///< false computes every token from the whole context again
};

/// The token that `random`, uniform in [0, 1), selects from `logits` [V]. Ties are broken by index.
int32_t pick_token(std::span<const float> logits, const SamplingOptions& options, double random);

/// Continues `prompt`, which must not be empty, by max_new_tokens tokens. `sample` numbers independent continuations.
/// Text beyond the model's block_size drops out of sight. `on_token` sees each token as it comes.
std::vector<int32_t> generate(const LanguageModel& model, std::span<const int32_t> prompt,
                              const SamplingOptions& options, uint64_t sample = 0,
                              const std::function<void(int32_t)>& on_token = {});

}  // namespace tessera
