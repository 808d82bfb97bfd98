#include "trainers/autopsy_bundle.h"

#include <cstring>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "framework/distributed/agreement.h"
#include "framework/io/atomic_file.h"
#include "framework/io/file.h"
#include "framework/io/json_reason.h"
#include "framework/io/safetensors.h"
#include "framework/machine.h"
#include "trainers/config/load.h"
#include "trainers/trainer.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Enough room to name the tensors of a batch.
std::string key(const char* what, size_t i) { return fmt::format("{}.{}", what, i); }

void write_batches(const fs::path& path, std::span<const MicroStep> micro_steps, int64_t block_size) {
  std::vector<SafetensorsEntry> entries;
  for (size_t i = 0; i < micro_steps.size(); ++i) {
    const Batch& batch = micro_steps[i].batch;
    const std::vector<int64_t> shape{batch.rows, block_size};
    const auto bytes = [](const std::vector<int32_t>& ids) { return std::as_bytes(std::span(ids)); };
    entries.push_back({.name = key("ids", i), .dtype = DType::i32, .shape = shape, .bytes = bytes(batch.ids)});
    entries.push_back({.name = key("targets", i), .dtype = DType::i32, .shape = shape, .bytes = bytes(batch.targets)});
  }
  write_safetensors(path, entries);
}

std::vector<int32_t> read_ids(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsEntry* entry = file.find(name);
  expect(entry != nullptr && entry->dtype == DType::i32, "replay {}: it has no token ids '{}'", file.path().string(),
         name);
  std::vector<int32_t> ids(static_cast<size_t>(entry->elements()));
  std::memcpy(ids.data(), entry->bytes.data(), entry->bytes.size());
  return ids;
}

// What autopsy.json says of the step.
struct Notes {
  int64_t iteration;
  float scale;
  double tokens;
  std::vector<int64_t> first_samples;
};

Notes read_notes(const fs::path& path) {
  expect(fs::exists(path), "replay: {} is not there; name the folder that a training wrote", path.string());
  try {
    const json notes = json::parse(read_file(path));
    return {.iteration = notes.at("iteration"),
            .scale = notes.at("scale"),
            .tokens = notes.at("tokens"),
            .first_samples = notes.at("first_samples")};
  } catch (const json::exception& failure) {
    fail("replay: {} is damaged: {}; train again with autopsy = True", path.string(), reason_of(failure));
  }
}

}  // namespace

std::optional<Finding> examine(const LanguageModel& model, const ParameterArena& arena,
                               std::span<const MicroStep> micro_steps, Pass::Options options, float scale,
                               double tokens) {
  Autopsy autopsy;
  const Device device = arena.weights().device();
  arena.begin_window();
  for (const MicroStep& micro_step : micro_steps) {
    const Batch& batch = micro_step.batch;
    const Shape shape{batch.rows, static_cast<int64_t>(batch.ids.size()) / batch.rows};
    options.first_sample = micro_step.first_sample;
    const Pass pass = autopsy.watch(Pass::recording(options));
    const Variable ids = pass.input(Tensor::from(batch.ids, shape, device));
    backward(model.loss(ids, Tensor::from(batch.targets, shape, device), tokens), scale);
    if (autopsy.finding()) break;
  }
  return autopsy.finding();
}

std::string write_autopsy(const Trainer& trainer, const fs::path& run_folder, const std::string& config_text,
                          float scale) {
  const int64_t iteration = trainer.iteration() - 1;  // as the pass and the data count
  const std::vector<MicroStep> micro_steps = trainer.micro_steps(iteration);
  const double tokens = trainer.data().counted_tokens(iteration);
  const Pass::Options pass{.iteration = iteration, .seed = static_cast<uint64_t>(trainer.config().seed)};
  const std::optional<Finding> reduced = find_in_reduced(trainer.arena());  // before examine() writes other gradients
  std::optional<Finding> finding = examine(trainer.model(), trainer.arena(), micro_steps, pass, scale, tokens);

  Communicator& ranks = trainer.ranks();
  const fs::path folder = run_folder / fmt::format("autopsy_{:08}", trainer.iteration());
  on_rank_0([&] { fs::create_directories(folder); }, ranks);
  trainer.save(CheckpointStore(folder, 1));
  const std::optional<int> first = first_rank_where(finding.has_value(), ranks);
  if (!first && ranks.world() > 1) finding = reduced;  // every rank is finite by itself, their sum is not
  const int author = first.value_or(0);
  const std::string told =
      fmt::format("step {} was not finite{}: {}; replay it with: tessera replay {}", trainer.iteration(),
                  ranks.world() > 1 ? fmt::format(" on rank {}", author) : "",
                  finding ? finding->describe() : "but running it again showed nothing", folder.string());
  if (ranks.rank() != author) return broadcast_text({}, author, ranks);
  write_batches(folder / "batch.safetensors", micro_steps, trainer.config().block_size);
  write_file(folder / "config.cfg", config_text);
  std::vector<int64_t> first_samples;
  for (const MicroStep& micro_step : micro_steps) first_samples.push_back(micro_step.first_sample);
  write_file(folder / "autopsy.json", json{{"iteration", iteration},
                                           {"scale", scale},
                                           {"tokens", tokens},
                                           {"first_samples", first_samples},
                                           {"finding", finding ? finding->describe() : "nothing"}}
                                              .dump(2) +
                                          "\n");
  return broadcast_text(told, author, ranks);
}

int run_replay(std::span<const std::string> arguments) {
  if (arguments.empty()) throw UsageError("replay: name the folder autopsy_… that a training wrote");
  if (arguments.size() > 1)
    throw UsageError("replay: " + arguments[1] + " is one word too many; name the folder alone");
  const fs::path folder = arguments[0];
  const Notes notes = read_notes(folder / "autopsy.json");
  const std::vector<std::string> words{(folder / "config.cfg").string()};
  const Config config = load_config(words).config;
  set_threads(static_cast<int>(config.threads));
  const std::optional<fs::path> checkpoint = CheckpointStore(folder, 0).latest();
  expect(checkpoint.has_value(), "replay: {} holds no complete checkpoint; train again with autopsy = True",
         folder.string());
  const Tokenizer tokenizer = tokenizer_of(load_state(*checkpoint));
  LanguageModel model(model_options(config, vocab_size_of(config, tokenizer)));
  ParameterArena arena(model, arena_options(config, device_of(config)));
  load_model(*checkpoint, arena);
  if (config.zero == 1 && arena.mirror().defined()) arena.keep_masters({{0, arena.size()}});  // as in the training

  const SafetensorsFile batches = SafetensorsFile::open(folder / "batch.safetensors");
  std::vector<MicroStep> micro_steps;
  for (size_t i = 0; i < notes.first_samples.size(); ++i) {
    Batch batch{.ids = read_ids(batches, key("ids", i)), .targets = read_ids(batches, key("targets", i))};
    batch.rows = std::ssize(batch.ids) / config.block_size;
    micro_steps.push_back({std::move(batch), notes.first_samples[i]});
  }
  const std::optional<Finding> finding =
      examine(model, arena, micro_steps, {.iteration = notes.iteration, .seed = static_cast<uint64_t>(config.seed)},
              notes.scale, notes.tokens);
  fmt::print("{}\n", finding ? finding->describe() : "every value of this step is finite");
  return 0;
}

}  // namespace tessera
