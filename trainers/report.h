// What a training step tells the world. One list of names serves metrics.jsonl, TensorBoard and whoever reads them.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

namespace tessera {

/// Why a step was skipped, as StepReport and metrics.jsonl say it.
inline constexpr const char* kLossNotFinite = "the loss was not finite";
inline constexpr const char* kLossScaleTooLarge = "the loss scale was too large";  ///< the scaler is finding its value
inline constexpr const char* kGradientNotFinite = "a gradient was not finite";

/// The numbers of one step. A loss or norm that is not finite is kept as it is: the step was skipped then.
struct StepReport {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  int64_t step = 0;           ///< iterations so far, this one included
  int64_t applied = 0;        ///< of them, those that changed the weights
  double train_loss = kNone;  ///< mean loss per token of the step's batch, in nats
  std::optional<double> eval_train_loss =
      std::nullopt;                                   ///< at an evaluation: the mean over eval_iters training batches
  std::optional<double> val_loss = std::nullopt;      ///< at an evaluation: the same over validation batches
  std::optional<double> val_accuracy = std::nullopt;  ///< at an evaluation of a task: share of exact matches, 0 to 1
  double learning_rate = 0;
  double grad_norm = kNone;                                   ///< L2 norm of the whole gradient, unscaled
  std::optional<double> grad_norm_clipped = std::nullopt;     ///< the same after clipping, where clipping is on
  double scale = 1;                                           ///< the loss was multiplied by it
  int64_t growth_tracker = 0;                                 ///< finite steps since the scale last changed
  std::optional<std::string> skipped_because = std::nullopt;  ///< where the step changed no weight: one of the above
  int64_t skipped = 0;                                        ///< steps of the run whose gradients were not finite
  int64_t tokens = 0;                                         ///< of training, so far
  double seconds = 0;                                         ///< of training, so far
  double tokens_per_second = 0;                               ///< since the previous report
  std::optional<double> peak_share = std::nullopt;            ///< of the machine's measured peak arithmetic, 0 to 1
  std::optional<int64_t> peak_memory_bytes =
      std::nullopt;  ///< largest so far: resident memory, or the device's where that computes
  // Of several ranks, as rank 0 sees them, since the previous report:
  std::optional<int64_t> ranks = std::nullopt;
  std::optional<double> rank_tokens_per_second = std::nullopt;  ///< of one of them
  std::optional<double> communication_share = std::nullopt;     ///< of the time: a collective was under way
  std::optional<double> overlap = std::nullopt;                 ///< of that: hidden behind computation
  std::optional<double> scaling_efficiency = std::nullopt;      ///< of the time: no collective was waited for
};

/// Calls `visit(name, member)` for every number of a report, in the order of a line of metrics.jsonl.
template <class Report, class Visit>
void visit_metrics(Report& report, Visit&& visit) {
  visit("step", report.step);
  visit("applied", report.applied);
  visit("train_loss", report.train_loss);
  visit("eval_train_loss", report.eval_train_loss);
  visit("val_loss", report.val_loss);
  visit("val_accuracy", report.val_accuracy);
  visit("learning_rate", report.learning_rate);
  visit("grad_norm", report.grad_norm);
  visit("grad_norm_clipped", report.grad_norm_clipped);
  visit("scale", report.scale);
  visit("growth_tracker", report.growth_tracker);
  visit("skipped_because", report.skipped_because);
  visit("skipped", report.skipped);
  visit("tokens", report.tokens);
  visit("seconds", report.seconds);
  visit("tokens_per_second", report.tokens_per_second);
  visit("peak_share", report.peak_share);
  visit("peak_memory_bytes", report.peak_memory_bytes);
  visit("ranks", report.ranks);
  visit("rank_tokens_per_second", report.rank_tokens_per_second);
  visit("communication_share", report.communication_share);
  visit("overlap", report.overlap);
  visit("scaling_efficiency", report.scaling_efficiency);
}

}  // namespace tessera
