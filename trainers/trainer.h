// Training as a sequence of steps: data → model → loss → backward → scan → update. It knows no files but checkpoints
// and no console; a TrainRun drives it.
#pragma once

#include <array>
#include <filesystem>
#include <functional>

#include "framework/data/dataset.h"
#include "framework/distributed/gradient_reducer.h"
#include "framework/io/checkpoint.h"
#include "framework/optim/optimizer.h"
#include "trainers/config/config.h"
#include "trainers/model_setup.h"
#include "trainers/report.h"
#include "trainers/step_graph.h"

namespace tessera {

class Trainer {
 public:
  /// Opens the data, builds the model and draws its first weights. With several ranks each makes a Trainer of the same
  /// config, and all of them call what is marked collective in the same order. `trained_with`: the tokenizer that the
  /// data is read with, where the model is not new.
  explicit Trainer(const Config& config, std::shared_ptr<Communicator> ranks = single_communicator(),
                   const std::optional<Tokenizer>& trained_with = std::nullopt);
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// One iteration: the global batch in micro-batches, then one update, or none if a gradient is not finite.
  /// Collective.
  StepReport step();
  /// The same in two halves, so that the device never waits for the host: up to two steps may have begun before the
  /// first is finished. `finish_step` waits for the oldest one. If that was skipped, what was begun after it is void
  /// and begins again.
  void begin_step();
  StepReport finish_step();
  /// Iterations begun so far.
  int64_t begun() const { return begun_; }
  /// Why steps are not recorded as a CUDA graph; empty where they are.
  const std::string& why_no_graph() const { return graph_.why_not(); }
  /// Steps that were enqueued as a graph.
  int64_t replays() const { return graph_.replays(); }
  /// The host's part of an iteration: its data.
  std::vector<MicroStep> micro_steps(int64_t iteration) const;

  /// Asks all ranks to stop: `stop_agreed` is true on every rank after the next step.
  void ask_to_stop() { stop_asked_ = true; }
  bool stop_agreed() const { return stop_agreed_; }
  /// Fills in the losses (and for a task the accuracy) over the evaluation rows. Collective: each rank takes a share.
  /// `stop` is asked before every batch: once it says true, on all ranks at the same one, nothing is filled in and this
  /// returns false.
  bool evaluate(StepReport& report, const std::function<bool()>& stop = {}) const;

  /// Forward and backward over the first `rows` rows, at most a micro-batch, changing nothing; seconds of the second of
  /// two tries.
  double rehearse(int64_t rows) const;
  /// The memory that training will take, from rehearsals with 1, 2, 4, … rows until each further row takes as much.
  int64_t predict_memory() const;

  /// Rank 0 writes. Collective.
  void save(const CheckpointStore& store) const { save(store, state_, skipped_); }
  /// What `save` would have saved after the last step of this process that changed the weights. Collective.
  void save_applied(const CheckpointStore& store) const;
  /// Continues from a checkpoint, bit for bit where precision and threads are the same. Returns notices.
  std::vector<std::string> load(const std::filesystem::path& checkpoint);

  /// Iterations finished so far.
  int64_t iteration() const { return state_.iteration; }
  const StepState& state() const { return state_; }
  const Config& config() const { return config_; }
  const DataSet& data() const { return data_; }
  const LanguageModel& model() const { return model_; }
  const ParameterArena& arena() const { return arena_; }
  /// The master weights and the optimizer's state, laid out like the arena. What the ranks have split comes together
  /// in rank 0's host memory, and is undefined on the others. Collective.
  Tensor weights() const;
  OptimizerBuffers optimizer_buffers() const;
  Communicator& ranks() const { return *ranks_; }
  const GradientReducer& reducer() const { return reducer_; }
  /// Tokens that one iteration trains on.
  int64_t tokens_per_step() const;
  Device device() const { return device_; }

 private:
  void enqueue(std::span<const MicroInput> inputs, int64_t iteration, double tokens, DropoutKeys* keys);
  Variable forward(const Pass& pass, const Batch& batch, double denominator) const;
  std::optional<double> evaluate(Split split, const std::function<bool()>& stop) const;
  std::optional<double> exact_match_share(const std::function<bool()>& stop) const;
  void save(const CheckpointStore& store, const StepState& step, int64_t skipped) const;
  PinnedBuffer& state_buffer(int64_t iteration) { return state_buffers_[static_cast<size_t>(iteration % 2)]; }
  PinnedBuffer& vote_buffer(int64_t iteration) { return vote_buffers_[static_cast<size_t>(iteration % 2)]; }
  StepReport report(const StepState& before) const;

  void beat(Phase phase) const { ranks_->heartbeat().beat(state_.iteration, phase); }
  void agree();
  void update();

  Config config_;
  std::shared_ptr<Communicator> ranks_;
  Device device_;
  DataSet data_;
  LanguageModel model_;
  ParameterArena arena_;
  GradientReducer reducer_;
  Optimizer optimizer_;
  mutable Uploader uploader_;  // of batches, for evaluation too
  StepGraph graph_;
  std::array<PinnedBuffer, 2> state_buffers_;  // the states after the steps under way
  Tensor vote_;                                // f64 [1]: ranks that want to stop after this step
  std::array<PinnedBuffer, 2> vote_buffers_;
  StepState state_;    // after the last finished step
  StepState applied_;  // after the last one that changed the weights
  int64_t begun_ = 0;
  bool stop_asked_ = false;
  bool stop_agreed_ = false;
  int64_t skipped_ = 0;  // steps of the whole run
};

}  // namespace tessera
