#include "framework/data/dataset.h"

#include <fmt/format.h>

#include <algorithm>

#include "framework/data/text.h"
#include "framework/error.h"

namespace tessera {
namespace {

// Ids as narrow as the vocabulary allows.
TokenSource narrow(const std::vector<int32_t>& ids, int64_t vocab_size) {
  if (vocab_size <= 256) return TokenSource::of(std::vector<uint8_t>(ids.begin(), ids.end()));
  if (vocab_size <= 65536) return TokenSource::of(std::vector<uint16_t>(ids.begin(), ids.end()));
  return TokenSource::of(std::vector<uint32_t>(ids.begin(), ids.end()));
}

}  // namespace

DataSet DataSet::open(const Options& options) {
  expect(!options.source.empty(), "data: no text was named; set data = a text file, a glob or a folder");
  const Text text = read_text(options.source, options.tokenizer == "byte" ? TextRule::any_bytes : TextRule::utf8);
  const std::vector<std::string_view> parts = text.parts();
  Tokenizer tokenizer = Tokenizer::build(options.tokenizer, parts);
  TokenSource all;
  for (size_t i = 0; i < parts.size(); ++i) {
    all.append(narrow(tokenizer.encode(parts[i], {.name = text.files[i].path().string()}), tokenizer.vocab_size()));
  }
  const int64_t train = all.size() * 9 / 10;
  const int64_t shorter = std::min(train, all.size() - train);
  expect(shorter > options.block_size,
         "data {}: its {} tokens leave {} for validation, which must exceed block_size {}; use more text or a smaller "
         "block_size",
         options.source, all.size(), shorter, options.block_size);
  DataSet data(std::move(tokenizer), all.slice(0, train), all.slice(train, all.size()), options);
  data.notices_ = text.notices;
  data.fingerprint_ = fmt::format("{:016x}", all.survey(0).fingerprint);
  return data;
}

DataSet::DataSet(Tokenizer tokenizer, TokenSource train, TokenSource validation, const Options& options)
    : tokenizer_(std::move(tokenizer)),
      train_(std::move(train)),
      validation_(std::move(validation)),
      block_size_(options.block_size),
      plan_{.batch_size = options.batch_size,
            .gradient_accumulation_steps = options.gradient_accumulation_steps,
            .rank = options.rank,
            .world = options.world},
      order_(train_.size(), options.block_size, options.seed) {}

std::string DataSet::describe() const {
  return fmt::format("{} training and {} validation tokens of {}", train_.size(), validation_.size(),
                     tokenizer_.describe());
}

template <class BeginOf>
Batch DataSet::windows(const TokenSource& source, Rows rows, BeginOf&& begin_of) const {
  const auto n = static_cast<size_t>(block_size_);
  Batch batch{.ids = {}, .targets = {}, .rows = rows.count(), .counted = static_cast<double>(rows.count() * block_size_)};
  batch.ids.resize(static_cast<size_t>(rows.count()) * n);
  batch.targets.resize(batch.ids.size());
  std::vector<int32_t> window(n + 1);
  for (int64_t row = 0; row < rows.count(); ++row) {
    source.copy(begin_of(rows.begin + row), window);
    const auto place = static_cast<size_t>(row) * n;
    std::copy_n(window.begin(), n, batch.ids.begin() + static_cast<std::ptrdiff_t>(place));
    std::copy_n(window.begin() + 1, n, batch.targets.begin() + static_cast<std::ptrdiff_t>(place));
  }
  return batch;
}

Batch DataSet::training_batch(Rows sequences) const {
  return windows(train_, sequences, [&](int64_t sequence) { return order_.begin(sequence); });
}

double DataSet::counted_tokens(int64_t) const { return static_cast<double>(plan_.global_batch() * block_size_); }

int64_t DataSet::evaluation_rows(Split split, int64_t eval_iters) const {
  return std::min(eval_iters * plan_.batch_size, evaluation_windows(tokens(split).size(), block_size_));
}

std::vector<Rows> DataSet::evaluation_batches(Split split, int64_t eval_iters) const {
  return plan_.evaluation_batches(evaluation_rows(split, eval_iters));
}

Batch DataSet::evaluation_batch(Split split, Rows rows, int64_t eval_iters) const {
  const int64_t all = evaluation_rows(split, eval_iters);
  return windows(tokens(split), rows,
                 [&](int64_t row) { return evaluation_begin(row, all, tokens(split).size(), block_size_); });
}

}  // namespace tessera
