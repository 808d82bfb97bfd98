#include "framework/data/dataset.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "framework/data/left_out.h"
#include "framework/data/synthetic.h"
#include "framework/data/text.h"
#include "framework/data/token_file.h"
#include "framework/data/token_source.h"
#include "framework/error.h"
#include "kernels/common/philox.h"

namespace tessera {
namespace {

constexpr std::string_view kTask = "task:";

std::string hexadecimal(uint64_t hash) { return fmt::format("{:016x}", hash); }

/// Windows of two streams of tokens.
class TokenRows final : public RowSource {
 public:
  TokenRows(TokenSource training, TokenSource validation, const DataSet::Options& options)
      : training_(std::move(training)),
        validation_(std::move(validation)),
        block_size_(checked_block_size(options)),
        order_(training_.size(), block_size_, options.seed) {}

  std::optional<int64_t> epoch_rows() const override { return order_.windows(); }
  std::optional<int64_t> evaluation_rows(Split split) const override {
    return evaluation_windows(tokens(split).size(), block_size_);
  }
  int64_t counted() const override { return block_size_; }
  void fill_training(int64_t sequence, std::span<int32_t> ids, std::span<int32_t> targets) const override {
    copy(training_, order_.begin(sequence), ids, targets);
  }
  void fill_evaluation(Split split, int64_t row, int64_t rows, std::span<int32_t> ids,
                       std::span<int32_t> targets) const override {
    copy(tokens(split), evaluation_begin(row, rows, tokens(split).size(), block_size_), ids, targets);
  }
  std::string describe() const override {
    return fmt::format("{} training and {} validation tokens", training_.size(), validation_.size());
  }

 private:
  const TokenSource& tokens(Split split) const { return split == Split::train ? training_ : validation_; }
  static void copy(const TokenSource& tokens, int64_t begin, std::span<int32_t> ids, std::span<int32_t> targets) {
    tokens.copy(begin, ids);
    tokens.copy(begin + 1, targets);
  }
  int64_t checked_block_size(const DataSet::Options& options) const {
    expect(options.block_size > 0, "block_size: {} is not a length; it must be at least 1", options.block_size);
    for (const auto& [name, part] : {std::pair{"training", &training_}, std::pair{"validation", &validation_}}) {
      expect(
          part->size() > options.block_size,
          "{}: the {} part has {} tokens, but a row takes block_size + 1 = {}; use more data or a smaller block_size",
          options.source, name, part->size(), options.block_size + 1);
    }
    return options.block_size;
  }

  TokenSource training_, validation_;
  int64_t block_size_;
  TrainingOrder order_;
};

/// Samples of a task. Training takes them in order; an evaluation takes the first ones of its split.
class TaskRows final : public RowSource {
 public:
  explicit TaskRows(SyntheticTask task) : task_(std::move(task)) {}

  std::optional<int64_t> epoch_rows() const override { return std::nullopt; }
  std::optional<int64_t> evaluation_rows(Split) const override { return std::nullopt; }
  int64_t counted() const override { return task_.answer_length(); }
  void fill_training(int64_t sequence, std::span<int32_t> ids, std::span<int32_t> targets) const override {
    task_.fill(Split::train, sequence, ids, targets);
  }
  void fill_evaluation(Split split, int64_t row, int64_t, std::span<int32_t> ids,
                       std::span<int32_t> targets) const override {
    task_.fill(split, row, ids, targets);
  }
  std::string describe() const override {
    return fmt::format("endless samples of {}, {} tokens each,", task_.name(), task_.block_size() + 1);
  }

 private:
  SyntheticTask task_;
};

/// Tokens of a text, in a width that holds the vocabulary. Encoded a piece at a time, to bound the memory.
template <class Id>
TokenSource encode_as(const MappedFile& file, const Tokenizer& tokenizer) {
  constexpr size_t kPiece = 16 << 20;
  std::vector<Id> ids;
  std::string_view rest = without_mark(file.text());
  while (!rest.empty()) {
    size_t length = std::min(kPiece, rest.size());
    while (length < rest.size() && (static_cast<uint8_t>(rest[length]) & 0xc0) == 0x80) --length;  // whole characters
    const TextPlace place{.name = file.path().string(), .offset = rest.data() - file.text().data()};
    const std::vector<int32_t> tokens = tokenizer.encode(rest.substr(0, length), place);
    std::ranges::transform(tokens, std::back_inserter(ids), [](int32_t token) { return static_cast<Id>(token); });
    rest.remove_prefix(length);
  }
  return TokenSource::of(std::move(ids));
}

TokenSource encode(const MappedFile& file, const Tokenizer& tokenizer) {
  if (tokenizer.kind() == "byte") {
    const auto* first = reinterpret_cast<const uint8_t*>(file.bytes().data());
    return {TokenSource::Ids(std::span(first, file.bytes().size())), file.owner()};
  }
  if (tokenizer.vocab_size() <= 1 + std::numeric_limits<uint8_t>::max()) return encode_as<uint8_t>(file, tokenizer);
  if (tokenizer.vocab_size() <= 1 + std::numeric_limits<uint16_t>::max()) return encode_as<uint16_t>(file, tokenizer);
  return encode_as<uint32_t>(file, tokenizer);
}

/// The token files of a source; none if it is text.
FileList token_files(const std::string& source) {
  FileList list = list_files(source);
  const auto others = std::stable_partition(list.paths.begin(), list.paths.end(), is_token_file);
  if (others != list.paths.begin() && others != list.paths.end()) {
    LeftOut left_out;
    for (auto path = others; path != list.paths.end(); ++path)
      left_out.add("that hold no tokens, beside files that do", *path);
    std::ranges::move(left_out.sentences(source), std::back_inserter(list.notices));
  }
  list.paths.erase(others, list.paths.end());
  return list;
}

/// What is told of a tokenizer that was asked for where data has none.
std::vector<std::string> ignored_tokenizer(const DataSet::Options& options, std::string_view why) {
  if (options.trained_with || options.tokenizer == DataSet::Options{}.tokenizer) return {};
  return {fmt::format("Ignored: tokenizer = {} ({})", options.tokenizer, why)};
}

/// What is told of a text that has fewer pieces than its vocabulary was to have.
std::vector<std::string> missing_pieces(const DataSet::Options& options, const Tokenizer& tokenizer) {
  if (options.trained_with || tokenizer.vocab_size() >= Tokenizer::size_in(options.tokenizer)) return {};
  return {fmt::format("{}: gives no more than {} pieces, fewer than tokenizer = {} asks for", options.source,
                      tokenizer.vocab_size(), options.tokenizer)};
}

/// What is told of a text with the one character that subwords cannot give back.
std::vector<std::string> lost_character(const DataSet::Options& options, const Tokenizer& tokenizer, const Text& text) {
  const auto parts = text.parts();
  const auto has_it = [](std::string_view part) { return part.find("\xE2\x96\x81") != part.npos; };
  if (tokenizer.kind() != "sentencepiece" || std::ranges::none_of(parts, has_it)) return {};
  return {
      fmt::format("{}: holds U+2581 (lower one eighth block), which stands for a space in SentencePiece and becomes "
                  "one; tokenizer = char and byte keep it",
                  options.source)};
}

/// A batch whose rows `fill(row, ids, targets)` writes.
template <class Fill>
Batch filled(Rows rows, int64_t block_size, int64_t counted, Fill&& fill) {
  const auto block = static_cast<size_t>(block_size), size = static_cast<size_t>(rows.count()) * block;
  Batch batch{.ids = std::vector<int32_t>(size),
              .targets = std::vector<int32_t>(size),
              .rows = rows.count(),
              .counted = static_cast<double>(rows.count() * counted)};
  for (size_t at = 0; at < size; at += block) {
    fill(rows.begin++, std::span(batch.ids).subspan(at, block), std::span(batch.targets).subspan(at, block));
  }
  return batch;
}

}  // namespace

DataSet::DataSet(const Options& options, Tokenizer tokenizer)
    : tokenizer_(std::move(tokenizer)),
      plan_{.batch_size = options.batch_size,
            .gradient_accumulation_steps = options.gradient_accumulation_steps,
            .rank = options.rank,
            .world = options.world},
      vocab_size_(std::max(options.vocab_size, tokenizer_.vocab_size())),
      block_size_(options.block_size) {
  expect(options.vocab_size == 0 || options.vocab_size == vocab_size_,
         "vocab_size: {} is less than the {} of {}; leave it out or raise it", options.vocab_size,
         tokenizer_.describe(), options.source);
}

DataSet DataSet::open(const Options& options) {
  if (options.source.starts_with(kTask)) return open_task(options);
  return token_files(options.source).paths.empty() ? open_text(options) : open_tokens(options);
}

DataSet DataSet::open_task(const Options& options) {
  const SyntheticTask task(std::string_view(options.source).substr(kTask.size()), options.seed);
  expect(!options.trained_with || options.trained_with->to_json() == task.tokenizer().to_json(),
         "data: the model was trained with another vocabulary than that of {}; name the data it was trained on",
         options.source);
  expect(options.block_size == 0 || options.block_size >= task.block_size(),
         "block_size: {} is less than the {} tokens that a sample of {}{} takes; raise it or make the task smaller",
         options.block_size, task.block_size(), kTask, task.name());
  DataSet data(options, task.tokenizer());
  data.source_ = std::make_shared<TaskRows>(task);
  data.block_size_ = std::max(options.block_size, task.block_size());
  data.has_answers_ = true;
  data.tell(ignored_tokenizer(options, "a task has its own symbols"));
  uint64_t hash = 0;
  for (const char character : task.name()) hash = mix(hash, static_cast<uint8_t>(character));
  data.fingerprint_ = hexadecimal(hash);
  return data;
}

DataSet DataSet::open_tokens(const Options& options) {
  const FileList list = token_files(options.source);
  const auto& trained_with = options.trained_with;
  const TokenSplit split = open_token_files(list.paths, trained_with ? trained_with->vocab_size() : options.vocab_size);
  DataSet data(options, trained_with.value_or(Tokenizer::ids(split.vocab_size)));
  data.source_ = std::make_shared<TokenRows>(split.train, split.validation, options);
  data.tell(list.notices);
  data.tell(split.notices);
  data.tell(ignored_tokenizer(options, "token files hold tokens"));
  data.fingerprint_ = hexadecimal(split.fingerprint);
  return data;
}

DataSet DataSet::open_text(const Options& options) {
  const bool any_bytes = options.trained_with ? options.trained_with->kind() == "byte" : options.tokenizer == "byte";
  const Text text = read_text(options.source, any_bytes ? TextRule::any_bytes : TextRule::utf8);
  DataSet data(options,
               options.trained_with ? *options.trained_with : Tokenizer::build(options.tokenizer, text.parts()));
  TokenSource tokens;
  for (const MappedFile& file : text.files) tokens.append(encode(file, data.tokenizer_));
  const int64_t border = validation_begin(tokens.size());
  data.source_ = std::make_shared<TokenRows>(tokens.slice(0, border), tokens.slice(border, tokens.size()), options);
  data.tell(text.notices);
  data.tell(missing_pieces(options, data.tokenizer_));
  data.tell(lost_character(options, data.tokenizer_, text));
  data.fingerprint_ = hexadecimal(tokens.survey(0).fingerprint);
  return data;
}

void DataSet::tell(const std::vector<std::string>& sentences) {
  std::ranges::copy(sentences, std::back_inserter(notices_));
}

Batch DataSet::training_batch(Rows sequences) const {
  return filled(sequences, block_size_, source_->counted(),
                [&](int64_t row, auto ids, auto targets) { source_->fill_training(row, ids, targets); });
}

double DataSet::counted_tokens(int64_t) const { return static_cast<double>(plan_.global_batch() * source_->counted()); }

int64_t DataSet::evaluation_rows(Split split, int64_t eval_iters) const {
  const int64_t wanted = eval_iters * plan_.batch_size;
  return std::min(wanted, source_->evaluation_rows(split).value_or(wanted));
}

std::vector<Rows> DataSet::evaluation_batches(Split split, int64_t eval_iters) const {
  return plan_.evaluation_batches(evaluation_rows(split, eval_iters));
}

Batch DataSet::evaluation_batch(Split split, Rows rows, int64_t eval_iters) const {
  const int64_t all = evaluation_rows(split, eval_iters);
  return filled(rows, block_size_, source_->counted(),
                [&](int64_t row, auto ids, auto targets) { source_->fill_evaluation(split, row, all, ids, targets); });
}

}  // namespace tessera
