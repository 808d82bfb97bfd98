#include "framework/data/synthetic.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "kernels/common/error.h"
#include "kernels/common/philox.h"

namespace tessera {
namespace {

struct Task {
  std::string_view name;
  int64_t size, least, most;
};

/// In the order of SyntheticTask::Kind. The least sizes leave at least a hundred prompts.
constexpr std::array<Task, 4> kTasks{{{"copy", 16, 2, 100'000},
                                      {"sort", 10, 2, 100'000},
                                      {"addition", 3, 1, 100'000},
                                      {"modular_addition", 97, 10, 10'000}}};

size_t index_of(std::string_view specification) {
  const std::string_view name = specification.substr(0, specification.find(':'));
  const auto task = std::ranges::find(kTasks, name, &Task::name);
  expect(task != kTasks.end(), "data: the task '{}' is not known; use copy, sort, addition or modular_addition", name);
  return static_cast<size_t>(task - kTasks.begin());
}

int64_t size_in(std::string_view specification) {
  const Task& task = kTasks[index_of(specification)];
  const size_t colon = specification.find(':');
  if (colon == specification.npos) return task.size;
  int64_t size = 0;
  const std::string_view digits = specification.substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  expect(whole && size >= task.least && size <= task.most,
         "data: the size of the task {} must be a whole number from {} to {}, not '{}'", task.name, task.least,
         task.most, digits);
  return size;
}

Tokenizer vocabulary(int32_t values, bool letters, bool plus) {
  std::vector<std::string> symbols;
  for (int32_t i = 0; i < values; ++i) {
    symbols.push_back(letters ? std::string(1, static_cast<char>('a' + i)) : std::to_string(i));
  }
  if (plus) symbols.emplace_back("+");
  symbols.emplace_back("=");
  symbols.emplace_back("\n");
  return Tokenizer::symbols(std::move(symbols));
}

/// The random words of one attempt at one sample, in order.
class Stream {
 public:
  Stream(uint64_t seed, int64_t sample, uint32_t attempt) : key_(mix(seed, 0x7461736b)) {
    counter_ = {static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32), attempt, 0};
  }
  /// A value below `bound`; each is equally likely to within bound / 2^32.
  int32_t below(int32_t bound) {
    if (used_ == 4) {
      const Words words = philox(key_, counter_);
      words_ = {words.x, words.y, words.z, words.w};
      ++counter_.w;
      used_ = 0;
    }
    return static_cast<int32_t>(words_[used_++] * static_cast<uint64_t>(bound) >> 32);
  }

 private:
  uint64_t key_;
  Words counter_{};
  std::array<uint32_t, 4> words_{};
  size_t used_ = 4;
};

/// The same for every seed, so that a prompt is held back from every run.
bool is_held_back(const std::vector<int32_t>& values) {
  uint64_t hash = 0;
  for (const int32_t value : values) hash = mix(hash, static_cast<uint64_t>(value));
  return hash % 10 == 0;
}

}  // namespace

SyntheticTask::SyntheticTask(std::string_view specification, uint64_t seed)
    : kind_(static_cast<Kind>(index_of(specification))),
      size_(size_in(specification)),
      symbols_(kind_ == Kind::copy               ? 26
               : kind_ == Kind::modular_addition ? static_cast<int32_t>(size_)
                                                 : 10),
      seed_(seed),
      tokenizer_(vocabulary(symbols_, kind_ == Kind::copy, has_plus())) {}

std::string SyntheticTask::name() const { return fmt::format("{}:{}", kTasks[static_cast<size_t>(kind_)].name, size_); }

int64_t SyntheticTask::prompt_length() const {
  if (kind_ == Kind::modular_addition) return 4;
  return kind_ == Kind::addition ? 2 * size_ + 2 : size_ + 1;
}

int64_t SyntheticTask::answer_length() const {
  if (kind_ == Kind::modular_addition) return 2;
  return kind_ == Kind::addition ? size_ + 2 : size_ + 1;
}

/// The letters, digits or numbers of a prompt, without its signs: the first attempt that falls into the split.
std::vector<int32_t> SyntheticTask::values(Split split, int64_t sample) const {
  constexpr uint32_t kAttempts = 10'000;
  std::vector<int32_t> values(static_cast<size_t>(prompt_length() - (has_plus() ? 2 : 1)));
  for (uint32_t attempt = 0; attempt < kAttempts; ++attempt) {
    Stream stream(seed_, sample, attempt);
    for (int32_t& value : values) value = stream.below(symbols_);
    if (is_held_back(values) == (split == Split::validation)) return values;
  }
  fail("data: the task {} has no prompt for this split", name());
}

std::vector<int32_t> SyntheticTask::answer(const std::vector<int32_t>& values) const {
  std::vector<int32_t> answer;
  switch (kind_) {
    case Kind::copy: return values;
    case Kind::sort:
      answer = values;
      std::ranges::sort(answer);
      return answer;
    case Kind::modular_addition: return {(values[0] + values[1]) % symbols_};
    case Kind::addition: break;
  }
  int32_t carry = 0;
  const auto digits = static_cast<size_t>(size_);
  for (size_t i = digits; i-- > 0;) {
    const int32_t sum = values[i] + values[digits + i] + carry;
    answer.push_back(sum % 10);
    carry = sum / 10;
  }
  answer.push_back(carry);
  return answer;
}

void SyntheticTask::fill(Split split, int64_t sample, std::span<int32_t> inputs, std::span<int32_t> targets) const {
  expect(inputs.size() == targets.size() && static_cast<int64_t>(inputs.size()) >= block_size(),
         "data: a sample of the task {} takes rows of {} tokens, not {}", name(), block_size(), inputs.size());
  std::vector<int32_t> tokens = values(split, sample);
  const std::vector<int32_t> result = answer(tokens);
  if (has_plus()) tokens.insert(tokens.begin() + static_cast<ptrdiff_t>(tokens.size() / 2), symbols_);
  const auto newline = static_cast<int32_t>(tokenizer_.vocab_size() - 1);
  tokens.push_back(newline - 1);  // =
  const size_t prompt = tokens.size();
  tokens.insert(tokens.end(), result.begin(), result.end());
  tokens.push_back(newline);

  for (size_t i = 0; i < inputs.size(); ++i) {
    inputs[i] = i < tokens.size() ? tokens[i] : newline;
    targets[i] = i + 1 >= prompt && i + 1 < tokens.size() ? tokens[i + 1] : kIgnoredTarget;
  }
}

bool exact_match(std::span<const int32_t> predictions, std::span<const int32_t> targets) {
  return std::ranges::equal(predictions, targets,
                            [](int32_t predicted, int32_t target) { return target < 0 || predicted == target; });
}

}  // namespace tessera
