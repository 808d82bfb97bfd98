// What a run trains and validates on, behind one face: text, token files or a task. It has no state to save: which
// tokens a row holds follows from the options and the row's number alone.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/data/batches.h"
#include "framework/data/tokenizer.h"

namespace tessera {

/// Rows of token ids and what they should predict, each [rows, block_size].
struct Batch {
  std::vector<int32_t> ids;
  std::vector<int32_t> targets;  ///< the ids shifted by one; -1: does not count
  int64_t rows = 0;
  double counted = 0;  ///< targets that count
};

/// Where the rows of a DataSet come from: streams of tokens or a task.
class RowSource {
 public:
  virtual ~RowSource() = default;
  /// Rows of an epoch, and rows that an evaluation can take; none where they are endless.
  virtual std::optional<int64_t> epoch_rows() const = 0;
  virtual std::optional<int64_t> evaluation_rows(Split split) const = 0;
  /// Targets of a row that count: the same for all rows.
  virtual int64_t counted() const = 0;
  /// Row `sequence` of the training, and row `row` of an evaluation of `rows` rows; ids and targets are [block_size].
  virtual void fill_training(int64_t sequence, std::span<int32_t> ids, std::span<int32_t> targets) const = 0;
  virtual void fill_evaluation(Split split, int64_t row, int64_t rows, std::span<int32_t> ids,
                               std::span<int32_t> targets) const = 0;
  virtual std::string describe() const = 0;
};

class DataSet {
 public:
  struct Options {
    std::string source;              ///< a file, a glob or a folder of text or tokens; "task:NAME" or "task:NAME:SIZE"
    std::string tokenizer = "char";  ///< of text, as Tokenizer::build takes it
    int64_t block_size = 256;        ///< tokens of a row; 0: as many as a sample of the task has
    int64_t vocab_size = 0;          ///< that many logits are wanted; 0: what the data has
    int64_t batch_size = 1;
    int64_t gradient_accumulation_steps = 1;
    uint64_t seed = 0;  ///< of the order of the rows, and of a task's samples
    int64_t rank = 0, world = 1;
    std::optional<Tokenizer> trained_with = std::nullopt;  ///< the tokenizer of a run whose model reads this data
  };

  /// Opens, tokenises and checks the data. A folder or glob with token files in it (token_file.h) means those,
  /// otherwise text. Errors: those of reading and tokenising; a split too short for one row; a block_size less than a
  /// task's sample; a vocab_size less than the data's.
  static DataSet open(const Options& options);

  const Tokenizer& tokenizer() const { return tokenizer_; }
  int64_t vocab_size() const { return vocab_size_; }
  int64_t block_size() const { return block_size_; }
  /// Rows of an epoch; none for a task, which is endless.
  std::optional<int64_t> epoch_rows() const { return source_->epoch_rows(); }
  /// Whether rows are a prompt and its one right answer, so that exact_match (synthetic.h) means something.
  bool has_answers() const { return has_answers_; }
  /// Sentences for the user: what was left out, assumed or ignored.
  const std::vector<std::string>& notices() const { return notices_; }
  /// For people: how many tokens, in which vocabulary.
  std::string describe() const { return source_->describe() + " of " + tokenizer_.describe(); }
  /// Changes when the tokens do.
  const std::string& fingerprint() const { return fingerprint_; }

  /// This rank's forward passes of iteration `iteration` (from 0), as sequence numbers of the run.
  std::vector<Rows> micro_batches(int64_t iteration) const { return plan_.micro_batches(iteration); }
  Batch training_batch(Rows sequences) const;
  /// Targets that count in the global batch of an iteration: what its loss is divided by.
  double counted_tokens(int64_t iteration) const;

  /// This rank's part of the evaluation of `eval_iters` batches: the same rows every time, spread over the split, all
  /// of it if it has no more.
  std::vector<Rows> evaluation_batches(Split split, int64_t eval_iters) const;
  Batch evaluation_batch(Split split, Rows rows, int64_t eval_iters) const;

 private:
  DataSet(const Options& options, Tokenizer tokenizer);
  static DataSet open_task(const Options& options);
  static DataSet open_tokens(const Options& options);
  static DataSet open_text(const Options& options);
  void tell(const std::vector<std::string>& sentences);
  int64_t evaluation_rows(Split split, int64_t eval_iters) const;

  Tokenizer tokenizer_;
  BatchPlan plan_;
  int64_t vocab_size_, block_size_;
  std::shared_ptr<const RowSource> source_;
  bool has_answers_ = false;
  std::vector<std::string> notices_;
  std::string fingerprint_;
};

}  // namespace tessera
