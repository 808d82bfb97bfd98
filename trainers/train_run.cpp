#include "trainers/train_run.h"

#include <cmath>
#include <csignal>

#include <fmt/format.h>

#include "framework/distributed/agreement.h"
#include "framework/distributed/rendezvous.h"
#include "framework/distributed/start_check.h"
#include "framework/io/checkpoint_folders.h"
#include "framework/machine.h"
#include "trainers/autopsy_bundle.h"
#include "trainers/config/describe.h"
#include "trainers/human.h"
#include "trainers/loss_plot.h"
#include "trainers/samples.h"
#include "trainers/say.h"
#include "trainers/stop_signal.h"

namespace tessera {

namespace fs = std::filesystem;

TrainRun::TrainRun(const LoadedConfig& loaded, std::shared_ptr<Communicator> ranks)
    : loaded_(loaded),
      threads_(set_threads(static_cast<int>(loaded.config.threads), find_rendezvous().local_world)),
      folder_(loaded),
      store_(folder_.path(), loaded.config.keep_checkpoints),
      trainer_(loaded.config, std::move(ranks)),
      peak_flops_(1e9 * measured_fma_peak_gflops(threads_) * trainer_.ranks().world()) {
  on_rank_0([&] { open_folder(); }, trainer_.ranks());
  start_or_resume();
  compare_ranks();
  print_header();
  on_rank_0([&] { open_reports(); }, trainer_.ranks());
}

void TrainRun::open_folder() {
  for (const std::string& notice : folder_.open()) say("{}\n", notice);
}

void TrainRun::open_reports() {
  folder_.write_config();
  open_metrics();
  progress_.emplace(Progress::Options{.total_steps = config().max_iters, .first_step = trainer_.iteration()});
}

void TrainRun::open_metrics() {
  metrics_.emplace(folder_ / "metrics.jsonl");
  if (config().tensorboard) tensorboard_.emplace(folder_.path(), trainer_.iteration() + 1);
}

// Where somebody removed the run folder under a training, what it has reported is written again.
void TrainRun::keep_folder() {
  std::error_code ignored;
  const bool reports_stand = fs::exists(folder_ / "metrics.jsonl", ignored);
  if (reports_stand && folder_.stands()) return;
  folder_.restore();
  if (!reports_stand) {
    open_metrics();
    for (const StepReport& earlier : history_) metrics_->append(earlier);
  }
  progress_->line(
      fmt::format("out_dir {}: somebody removed files of this run; config.cfg and metrics.jsonl are written "
                  "again, lost checkpoints are not",
                  folder_.path().string()));
}

void TrainRun::start_or_resume() {
  const fs::path metrics = folder_ / "metrics.jsonl";
  if (config().init_from == Config::InitFrom::scratch) {
    if (writes()) fs::remove(metrics);
    return;
  }
  const std::string latest = writes() ? store_.latest()->string() : "";
  const fs::path checkpoint = broadcast_text(latest, 0, trainer_.ranks());
  for (const std::string& notice : trainer_.load(checkpoint)) say("{}\n", notice);
  saved_ = trainer_.iteration();
  say("resuming from {}\n", checkpoint.string());
  if (!writes()) return;
  const std::string notice = drop_metrics_after(metrics, trainer_.iteration());
  if (!notice.empty()) say("{}\n", notice);
  history_ = read_metrics(metrics);
  if (!history_.empty()) watch_.add(history_.back().seconds);
}

// What every rank made for itself must have come out the same.
void TrainRun::compare_ranks() {
  if (trainer_.ranks().world() == 1) return;
  Facts facts = {{"the data", trainer_.data().fingerprint()}};
  for (const ParameterArena::Entry& entry : trainer_.arena().entries())
    facts.emplace_back("the weights of " + entry.parameter->name, fingerprint(entry.parameter->value));
  expect_agreement(trainer_.ranks(), facts, "give all ranks the same data and run folder", trainer_.device());
}

void TrainRun::print_header() {
  for (const std::string& notice : trainer_.data().notices()) say("{}\n", notice);
  say("data: {}\n", trainer_.data().describe());
  say("number of parameters: {}\n", human_count(static_cast<double>(parameter_count(trainer_.model()))));
  say("tokens per iteration will be: {}\n", human_integer(trainer_.tokens_per_step()));
  say("device: {}, {} threads, measured peak {:.0f} GFLOP/s\n", to_string(trainer_.device()), threads_,
      peak_flops_ / 1e9);
  if (kHasCuda && config().device == "auto" && trainer_.device().is_cpu()) {
    say("no GPU is used: {}\n", cuda_trouble(0));
  }
  if (!trainer_.device().is_cpu() && !trainer_.why_no_graph().empty()) {
    say("cuda graph: off, because {}\n", trainer_.why_no_graph());
  }
  const Communicator& ranks = trainer_.ranks();
  if (ranks.world() > 1) say("ranks: {}, connected by {}\n", ranks.world(), ranks.transport());
  std::fflush(stdout);
}

int TrainRun::run() {
  catch_stop_signals();
  if (trainer_.iteration() >= config().max_iters) {
    say("step {} of {} is done, nothing is left to do; raise max_iters to go on\n", trainer_.iteration(),
        config().max_iters);
  }
  while (trainer_.iteration() < config().max_iters) {
    StepReport now = timed_step();
    if (now.skipped_because) look_into(now);
    const int64_t step = now.step;
    const bool last = step == config().max_iters;
    const bool to_evaluate = last || step % config().eval_interval == 0;
    const bool evaluated = to_evaluate && evaluate(now);
    const bool hopeless = trainer_.state().consecutive_skips >= config().max_skipped_steps;
    // Before the report: where that cannot be written, the weights are safe.
    if (!hopeless && (last || step % config().effective_checkpoint_interval() == 0)) save();
    report(now, evaluated);
    if (hopeless) return stop_for_non_finite(now);
    const bool idle = trainer_.begun() == trainer_.iteration();
    const bool complete = last && evaluated;
    if (must_stop() && !complete && idle) return stop_for_signal(stop_signal() != 0 ? stop_signal() : SIGTERM);
  }
  finish();
  return 0;
}

// False where a signal broke it off. With several ranks none does: they would have to agree before every batch.
bool TrainRun::evaluate(StepReport& now) const {
  const bool alone = trainer_.ranks().world() == 1;
  return trainer_.evaluate(now, [alone] { return alone && stop_signal() != 0; });
}

// Several ranks stop after the same step.
bool TrainRun::must_stop() const { return trainer_.ranks().world() == 1 ? stop_signal() != 0 : trainer_.stop_agreed(); }

// Steps after which the state is evaluated or saved, so that no other may have begun.
bool TrainRun::ends_with_a_look(int64_t step) const {
  return step == config().max_iters || step % config().eval_interval == 0 ||
         step % config().effective_checkpoint_interval() == 0;
}

// The next step, and on a GPU the one after it too: that never waits for the host.
void TrainRun::begin_steps() {
  if (trainer_.begun() == trainer_.iteration()) {
    watch_.start();
    communication_.start(trainer_.ranks());
    trainer_.begin_step();
  }
  const bool ahead = !trainer_.device().is_cpu() && trainer_.begun() == trainer_.iteration() + 1;
  if (ahead && !ends_with_a_look(trainer_.begun()) && !must_stop()) trainer_.begin_step();
}

StepReport TrainRun::timed_step() {
  if (stop_signal() != 0) trainer_.ask_to_stop();
  begin_steps();
  StepReport now = trainer_.finish_step();
  communication_.stop(trainer_.ranks());
  watch_.stop(trainer_.tokens_per_step());
  if (trainer_.begun() > trainer_.iteration()) watch_.start();
  now.seconds = watch_.seconds();
  now.tokens_per_second = watch_.rate();
  communication_.fill(now, trainer_.ranks(), watch_.lap_seconds());
  if (trainer_.device().is_cpu()) {
    now.peak_share = now.tokens_per_second * flops_per_token(trainer_.model()) / peak_flops_;
  }
  return now;
}

// A float16 scale that is still looking for its value overflows now and then: that is one line, not an illness.
void TrainRun::look_into(const StepReport& skipped) {
  const bool calibration = skipped.skipped_because == kLossScaleTooLarge;
  if (calibration && writes()) {
    progress_->line(fmt::format("step {} skipped: the loss scale {:g} was too large, now {:g}", skipped.step,
                                skipped.scale, trainer_.state().scale));
  }
  if (config().autopsy || (!calibration && !examined_)) examine(skipped);
}

void TrainRun::examine(const StepReport& skipped) {
  examined_ = true;
  const std::string told =
      write_autopsy(trainer_, folder_.path(), effective_config(loaded_), static_cast<float>(skipped.scale));
  if (writes()) progress_->line(told);
}

void TrainRun::report(StepReport& now, bool evaluated) {
  if (!writes()) return;
  const bool ends = now.step == 1 || now.step == config().max_iters;
  const bool due = evaluated || ends || now.skipped_because || now.step % config().log_interval == 0;
  progress_->step(now, due);
  if (!due) return;
  keep_folder();
  metrics_->append(now);
  if (tensorboard_) tensorboard_->append(now);
  history_.push_back(now);
  watch_.new_lap();
  communication_.new_lap();
  if (!evaluated) return;
  progress_->evaluation(now);
  write_loss_plot(folder_ / "loss.svg", history_,
                  fs::absolute(folder_ / "config.cfg").parent_path().filename().string());
}

void TrainRun::save() {
  if (saved_ == trainer_.iteration()) return;
  on_rank_0([&] { keep_folder(); }, trainer_.ranks());
  trainer_.save(store_);
  saved_ = trainer_.iteration();
}

int TrainRun::stop_for_signal(int signal) {
  save();
  if (!writes()) return 128 + signal;
  progress_->finish();
  if (trainer_.iteration() == config().max_iters) {
    say("trained to step {} and saved, but the evaluation was broken off; make up for it with: tessera eval {}\n",
        trainer_.iteration(), folder_.path().string());
  } else {
    say("stopped after step {} and saved; continue with: tessera train {} --init_from=resume\n", trainer_.iteration(),
        (folder_ / "config.cfg").string());
  }
  return 128 + signal;
}

// Skipped steps leave the weights as they were: those of the last step that was applied are worth keeping, unless a
// checkpoint since then holds them. Returns where they are.
std::string TrainRun::keep_applied() {
  const StepState& state = trainer_.state();
  const int64_t step = state.iteration - state.consecutive_skips;
  if (state.applied == 0 && saved_ < 0) return "no step has changed the weights, so nothing is saved";
  if (saved_ < step) {
    on_rank_0([&] { keep_folder(); }, trainer_.ranks());
    trainer_.save_applied(store_);
    saved_ = step;
  }
  return fmt::format("the weights are those of step {}, kept in {}", step,
                     checkpoint_path(folder_.path(), saved_).string());
}

// What helps against steps that are never finite. A finite loss whose gradient is not was multiplied by too much.
std::string TrainRun::cure_of_skips() const {
  const StepState& state = trainer_.state();
  const bool overflowed = config().dtype == DType::f16 && std::isfinite(state.loss) && state.scale > 1;
  if (!overflowed) return "try a lower learning_rate, grad_clip, or dtype = float32";
  if (config().dynamic_loss_scale()) {
    return "loss_scale = dynamic was still on its way down: try a lower init_scale or a higher max_skipped_steps";
  }
  return fmt::format("try loss_scale = dynamic: {} is too much for float16", config().loss_scale);
}

int TrainRun::stop_for_non_finite(const StepReport& now) {
  if (!examined_) examine(now);
  const std::string kept = keep_applied();
  if (!writes()) return kExitNotFinite;
  progress_->finish();
  const StepState& state = trainer_.state();
  fmt::print(stderr,
             "tessera: training stopped at step {}: {} steps in a row had non-finite gradients (loss {}, scale {}, "
             "learning rate {:.3g}); {}; {}\n",
             state.iteration, state.consecutive_skips, human_loss(state.loss), state.scale, state.learning_rate, kept,
             cure_of_skips());
  return kExitNotFinite;
}

void TrainRun::finish() {
  trainer_.ranks().heartbeat().beat(trainer_.iteration(), Phase::sample);
  if (!writes()) return;
  progress_->finish();
  try {
    const std::string text = draw_samples(trainer_.model(), trainer_.data().tokenizer(), config(), 1);
    append_samples(folder_.path(), trainer_.iteration(), text);
    say("\n{}\n\n", text);
  } catch (const Error& error) {  // a prompt that does not suit the data spoils no training
    say("no sample was drawn: {}\n", error.what());
  }
  say("run folder: {} (loss curve: {})\n", folder_.path().string(), (folder_ / "loss.svg").string());
}

}  // namespace tessera
