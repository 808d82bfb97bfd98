// Which sequences a step trains on: pure functions of (seed, iteration, sizes). There is no state to save, and the
// number of ranks changes who reads a sequence, never which sequences an iteration has.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tessera {

/// Which part of the data.
enum class Split { train, validation };

/// The rows [begin, end).
struct Rows {
  int64_t begin = 0, end = 0;
  int64_t count() const { return end - begin; }
  bool operator==(const Rows&) const = default;
};

/// Part `part` of `parts` of `rows`: contiguous runs whose lengths differ by at most one, the longer ones first.
Rows share(Rows rows, int64_t part, int64_t parts);

/// How a global batch of G = batch_size × gradient_accumulation_steps sequences is cut, at any number of ranks.
struct BatchPlan {
  int64_t batch_size = 1;  ///< the most rows of one forward pass
  int64_t gradient_accumulation_steps = 1;
  int64_t rank = 0, world = 1;

  int64_t global_batch() const { return batch_size * gradient_accumulation_steps; }
  /// This rank's forward passes of an iteration s (from 0), as sequence numbers of the run: its share of [s·G, (s+1)·G)
  /// in as few runs as batch_size allows. Error if a rank would have nothing to do.
  std::vector<Rows> micro_batches(int64_t iteration) const;
  /// This rank's share of the evaluation rows [0, rows), likewise; it may be empty.
  std::vector<Rows> evaluation_batches(int64_t rows) const;
};

/// The order in which training visits the windows of a token stream. A window is block_size + 1 tokens (the last one is
/// only a target); the windows of an epoch start at shift, shift + block_size, …, with a shift below block_size of the
/// epoch's own, so that every epoch cuts the text elsewhere. Each epoch visits its windows once, in its own order.
class TrainingOrder {
 public:
  /// `tokens` must exceed `block_size`.
  TrainingOrder(int64_t tokens, int64_t block_size, uint64_t seed);

  /// Windows of an epoch: as many as fit at the largest shift.
  int64_t windows() const { return windows_; }
  /// First token of sequence number `sequence` ≥ 0 of the run.
  int64_t begin(int64_t sequence) const;

 private:
  int64_t block_size_, windows_, shifts_;
  uint64_t seed_;
};

/// The windows that evaluation draws from: those at shift 0.
int64_t evaluation_windows(int64_t tokens, int64_t block_size);

/// First token of evaluation row `row` of `rows` ≤ evaluation_windows: spread evenly over the stream, all distinct, the
/// same at every evaluation.
int64_t evaluation_begin(int64_t row, int64_t rows, int64_t tokens, int64_t block_size);

}  // namespace tessera
