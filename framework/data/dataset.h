// The data of a run: what training and evaluation read, by pure functions of (iteration, rows). It has no state to save.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/data/batches.h"
#include "framework/data/token_source.h"
#include "framework/data/tokenizer.h"

namespace tessera {

enum class Split { train, validation };

/// Rows of token ids and what they should predict, each [rows, block_size].
struct Batch {
  std::vector<int32_t> ids;
  std::vector<int32_t> targets;  ///< -1: does not count
  int64_t rows = 0;
  double counted = 0;  ///< targets that count
};

class DataSet {
 public:
  struct Options {
    std::string source;              ///< a text file, a glob or a folder
    std::string tokenizer = "char";  ///< as Tokenizer::build takes it
    int64_t block_size = 256;
    int64_t batch_size = 1;
    int64_t gradient_accumulation_steps = 1;
    uint64_t seed = 0;
    int64_t rank = 0, world = 1;
  };

  /// Reads and tokenises. Errors: those of the source and the tokenizer, and a split too short for block_size.
  static DataSet open(const Options& options);

  const Tokenizer& tokenizer() const { return tokenizer_; }
  int64_t vocab_size() const { return tokenizer_.vocab_size(); }
  const std::vector<std::string>& notices() const { return notices_; }
  /// For people: how many tokens, in which vocabulary.
  std::string describe() const;
  /// Changes when the tokens do.
  const std::string& fingerprint() const { return fingerprint_; }

  /// This rank's forward passes of iteration `iteration` (from 0), as sequence numbers of the run.
  std::vector<Rows> micro_batches(int64_t iteration) const { return plan_.micro_batches(iteration); }
  Batch training_batch(Rows sequences) const;
  /// Targets that count in the global batch of an iteration: what its loss is divided by.
  double counted_tokens(int64_t iteration) const;

  /// This rank's part of the evaluation of `eval_iters` batches.
  std::vector<Rows> evaluation_batches(Split split, int64_t eval_iters) const;
  Batch evaluation_batch(Split split, Rows rows, int64_t eval_iters) const;

 private:
  DataSet(Tokenizer tokenizer, TokenSource train, TokenSource validation, const Options& options);
  const TokenSource& tokens(Split split) const { return split == Split::train ? train_ : validation_; }
  int64_t evaluation_rows(Split split, int64_t eval_iters) const;
  template <class BeginOf>
  Batch windows(const TokenSource& source, Rows rows, BeginOf&& begin_of) const;

  Tokenizer tokenizer_;
  TokenSource train_;
  TokenSource validation_;
  int64_t block_size_;
  BatchPlan plan_;
  TrainingOrder order_;
  std::vector<std::string> notices_;
  std::string fingerprint_;
};

}  // namespace tessera
