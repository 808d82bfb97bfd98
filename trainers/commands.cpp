#include "trainers/commands.h"

#include <csignal>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "framework/machine.h"
#include "framework/tensor/allocator.h"
#include "trainers/human.h"
#include "trainers/resume_check.h"
#include "trainers/run_on_ranks.h"
#include "trainers/samples.h"
#include "trainers/say.h"
#include "trainers/train_run.h"
#include "trainers/unused_keys.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

LoadedConfig load_and_tell(std::span<const std::string> arguments) {
  LoadedConfig loaded = load_config(arguments);
  for (const std::string& notice : loaded.notices) say("{}\n", notice);
  set_threads(static_cast<int>(loaded.config.threads));
  return loaded;
}

// The newest checkpoint of the run folder that the arguments name.
fs::path checkpoint_of(const Config& config) {
  const auto latest = CheckpointStore(config.out_dir, 0).latest();
  expect(latest.has_value(), "{}: this folder holds no complete checkpoint; train first", config.out_dir);
  return *latest;
}

// `tessera sample RUN`; `used` as tell_unused takes it.
LoadedConfig load_run(const char* command, std::span<const std::string> arguments,
                      std::initializer_list<std::string_view> used) {
  LoadedConfig loaded = load_and_tell(arguments);
  if (loaded.file.empty()) throw UsageError(fmt::format("{}: name a run folder: tessera {} RUN", command, command));
  tell_unused(loaded, command, used, {{"tokenizer", "the run has its own"}});
  return loaded;
}

}  // namespace

int run_train(std::span<const std::string> arguments) {
  const std::vector<std::string> words = words_of_this_start(arguments);
  const LoadedConfig loaded = load_config(words);
  return run_on_ranks("train", words, loaded, [&](std::shared_ptr<Communicator> ranks) {
    std::signal(SIGPIPE, SIG_IGN);  // `tessera train … | head` trains on
    for (const std::string& notice : loaded.notices) say("{}\n", notice);
    return TrainRun(loaded, std::move(ranks)).run();
  });
}

int run_check(std::span<const std::string> arguments) {
  const LoadedConfig loaded = load_and_tell(arguments);
  Trainer trainer(loaded.config);
  for (const std::string& notice : trainer.data().notices()) say("{}\n", notice);
  say("data                  {}\n", trainer.data().describe());
  say("parameters            {}\n", human_integer(parameter_count(trainer.model())));
  say("weights and optimizer {}\n", human_bytes(state_bytes(trainer.model(), loaded.config)));
  if (const int64_t ranks = loaded.config.ranks; ranks > 1) {
    say("on each of {} ranks   {}; all other figures are those of one process that trains alone\n", ranks,
        human_bytes(state_bytes(trainer.model(), loaded.config, ranks)));
  }
  const int64_t predicted = trainer.predict_memory();
  say("predicted memory      {}{}\n", human_bytes(predicted),
      trainer.device().is_cpu() ? ", besides the program itself" : "");
  const int64_t more = predicted - allocator_stats(trainer.device()).bytes_in_use;
  expect(!trainer.device().is_cpu() || more <= available_memory_bytes(),
         "this training takes {}, and {} are free; try a smaller batch_size with more gradient_accumulation_steps, "
         "recompute = True or a 16-bit dtype",
         human_bytes(predicted), human_bytes(available_memory_bytes()));
  const double step_seconds =
      trainer.rehearse(loaded.config.batch_size) * static_cast<double>(loaded.config.gradient_accumulation_steps);
  say("tokens per iteration  {}\n", human_integer(trainer.tokens_per_step()));
  say("tokens per second     {}\n", human_count(static_cast<double>(trainer.tokens_per_step()) / step_seconds));
  say("time for {} iterations: {}\n", loaded.config.max_iters,
      human_duration(step_seconds * static_cast<double>(loaded.config.max_iters)));
  return 0;
}

namespace {

/// A folder that disappears with its owner.
struct TemporaryFolder {
  fs::path path = fs::temp_directory_path() / fmt::format("tessera-verify-{}", getpid());
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

}  // namespace

int run_verify_resume(std::span<const std::string> arguments) {
  constexpr int64_t kMostIterations = 10;
  const LoadedConfig loaded = load_and_tell(arguments);
  tell_unused(loaded, "verify-resume", {"Model", "Data", "Optimization", "Machine", "Precision"});
  const int64_t n = std::clamp<int64_t>(loaded.config.max_iters / 2, 1, kMostIterations);
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path, 1);
  say("training {} iterations, and {} + {} with a checkpoint between\n", 2 * n, n, n);

  Trainer straight(loaded.config);
  for (const std::string& notice : straight.data().notices()) say("{}\n", notice);
  for (int64_t i = 0; i < 2 * n; ++i) {
    if (i == n) straight.save(store);
    straight.step();
  }
  Trainer resumed(loaded.config);
  resumed.load(*store.latest());
  for (int64_t i = 0; i < n; ++i) resumed.step();

  return print_differences(straight, resumed);
}

int run_sample(std::span<const std::string> arguments) {
  const Config config =
      load_run("sample", arguments,
               {"Model", "Machine", "Sampling", "vocab_size", "dtype", "residual_dtype", "master_weights", "out_dir"})
          .config;
  allow_tf32(config.tf32);
  const fs::path checkpoint = checkpoint_of(config);
  const CheckpointState state = load_state(checkpoint);
  expect_same_architecture(state, config);
  const Tokenizer tokenizer = tokenizer_of(state);
  LanguageModel model(model_options(config, vocab_size_of(config, tokenizer)));
  const ParameterArena arena(model, arena_options(config, device_of(config)));
  load_model(checkpoint, arena);
  const std::string text = draw_samples(model, tokenizer, config, config.num_samples);
  say("{}\n", text);
  try {
    append_samples(config.out_dir, state.step.iteration, text);
  } catch (const Error& failure) {  // a run that may only be read is sampled all the same
    fmt::print(stderr, "tessera: the samples were not kept: {}\n", failure.what());
  }
  return 0;
}

int run_eval(std::span<const std::string> arguments) {
  const Config config = load_run("eval", arguments,
                                 {"Model", "Machine", "data", "vocab_size", "batch_size", "dtype", "residual_dtype",
                                  "master_weights", "out_dir", "eval_iters"})
                            .config;
  const fs::path checkpoint = checkpoint_of(config);
  const CheckpointState saved = load_state(checkpoint);
  expect_same_architecture(saved, config);
  const Trainer trainer(config, single_communicator(), tokenizer_of(saved));
  load_model(checkpoint, trainer.arena());
  for (const std::string& notice : trainer.data().notices()) say("{}\n", notice);
  if (saved.text_at("data_fingerprint") != trainer.data().fingerprint())
    say("this is not the data that the model was trained on, or it has changed\n");
  StepReport report{.step = saved.step.iteration};
  trainer.evaluate(report);
  say("step {}: train loss {}, val loss {}\n", report.step, human_loss(*report.eval_train_loss),
      human_loss(*report.val_loss));
  if (report.val_accuracy) say("exact match: {:.1f}%\n", 100 * *report.val_accuracy);
  return 0;
}

}  // namespace tessera
