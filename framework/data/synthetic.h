// Tasks whose samples are made on the fly: a prompt drawn by counter-based random numbers and the one right answer. A
// tenth of all prompts, chosen by a hash, is kept for validation, so no answer there can have been memorised.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/data/batches.h"
#include "framework/data/tokenizer.h"

namespace tessera {

/// The target of a position that counts for nothing.
inline constexpr int32_t kIgnoredTarget = -1;

/// One of
///   copy:N              N letters, then the same: "pdqx=pdqx\n"
///   sort:N              N digits, then the same in order: "3141=1134\n"
///   addition:N          two numbers of N digits, then their sum of N + 1, last digit first, as one adds by hand:
///                       "172+045=7120\n"
///   modular_addition:P  two numbers below P, each one token, then their sum modulo P: "12+90=5\n"
class SyntheticTask {
 public:
  /// `specification` without ":SIZE" takes the size 16, 10, 3 or 97. Errors: a task that is not known, a size out of
  /// range.
  SyntheticTask(std::string_view specification, uint64_t seed);

  const Tokenizer& tokenizer() const { return tokenizer_; }
  /// Tokens of a row that holds a whole sample.
  int64_t block_size() const { return prompt_length() + answer_length() - 1; }
  /// Targets of a row: the answer and its newline.
  int64_t answer_length() const;
  /// "copy:16": with the size, as the constructor takes it.
  std::string name() const;

  /// Sample number `sample` ≥ 0 of a split: inputs, and targets which are -1 on the prompt; both int32 [≥ block_size],
  /// what is beyond the sample being newlines without targets. Depends on nothing but the task, the seed and the
  /// arguments.
  void fill(Split split, int64_t sample, std::span<int32_t> inputs, std::span<int32_t> targets) const;

 private:
  enum class Kind { copy, sort, addition, modular_addition };

  bool has_plus() const { return kind_ == Kind::addition || kind_ == Kind::modular_addition; }
  int64_t prompt_length() const;
  std::vector<int32_t> values(Split split, int64_t sample) const;
  std::vector<int32_t> answer(const std::vector<int32_t>& values) const;

  Kind kind_;
  int64_t size_;
  int32_t symbols_;  // letters, digits or numbers: the tokens below this one
  uint64_t seed_;
  Tokenizer tokenizer_;
};

/// Whether the predicted tokens of a row are right wherever there is a target: then generating from the prompt, always
/// the likeliest token, gives exactly the answer. Both [block_size].
bool exact_match(std::span<const int32_t> predictions, std::span<const int32_t> targets);

}  // namespace tessera
