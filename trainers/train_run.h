// A training in its run folder: config.cfg, metrics.jsonl, loss.svg, samples.txt, TensorBoard events and checkpoints,
// with a console in front. It survives interruption: SIGINT, SIGTERM and SIGHUP finish the step, break off an
// evaluation, and save.
#pragma once

#include "trainers/communication_meter.h"
#include "trainers/config/load.h"
#include "trainers/metrics.h"
#include "trainers/progress.h"
#include "trainers/run_folder.h"
#include "trainers/stopwatch.h"
#include "trainers/tensorboard.h"
#include "trainers/trainer.h"

namespace tessera {

/// What the program exits with when training stops because step after step was not finite.
inline constexpr int kExitNotFinite = 3;

class TrainRun {
 public:
  /// Prepares the run folder, and throws where RunFolder::open does. Of several ranks, the first one alone writes; all
  /// of them make a TrainRun and call run().
  explicit TrainRun(const LoadedConfig& loaded, std::shared_ptr<Communicator> ranks = single_communicator());

  /// Trains to max_iters. Returns 0, kExitNotFinite, or 128 + the signal that ended it.
  int run();

 private:
  void start_or_resume();
  void compare_ranks();
  void open_folder();
  void open_reports();
  void open_metrics();
  void keep_folder();
  void print_header();
  void begin_steps();
  StepReport timed_step();
  bool must_stop() const;
  bool ends_with_a_look(int64_t step) const;
  void report(StepReport& now, bool evaluated);
  void look_into(const StepReport& skipped);
  void examine(const StepReport& skipped);
  bool evaluate(StepReport& now) const;
  void save();
  std::string keep_applied();
  std::string cure_of_skips() const;
  void finish();
  int stop_for_signal(int signal);
  int stop_for_non_finite(const StepReport& now);

  const Config& config() const { return trainer_.config(); }
  bool writes() const { return trainer_.ranks().rank() == 0; }

  LoadedConfig loaded_;
  int threads_;
  RunFolder folder_;
  CheckpointStore store_;
  Trainer trainer_;
  double peak_flops_;
  std::vector<StepReport> history_;
  Stopwatch watch_;
  CommunicationMeter communication_;
  std::optional<MetricsWriter> metrics_;
  std::optional<TensorBoardWriter> tensorboard_;
  std::optional<Progress> progress_;
  int64_t saved_ = -1;     // the iteration of the newest checkpoint of this run
  bool examined_ = false;  // one autopsy per run, unless more are asked for
};

}  // namespace tessera
