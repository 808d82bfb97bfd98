#include "trainers/trainer_parts.h"

#include "framework/machine.h"
#include "trainers/human.h"
#include "trainers/model_setup.h"
#include "trainers/usage_error.h"

namespace tessera {

DataSet open_data(const Config& config, const Communicator& ranks, const std::optional<Tokenizer>& trained_with) {
  if (config.data.empty()) {
    throw UsageError(
        "data is not set; name what to train on, a text file, a glob, a folder, token files or a task, with "
        "--data=PATH or in the config file");
  }
  return DataSet::open({.source = config.data,
                        .tokenizer = config.tokenizer,
                        .block_size = config.block_size,
                        .vocab_size = config.vocab_size,
                        .batch_size = config.batch_size,
                        .gradient_accumulation_steps = config.gradient_accumulation_steps,
                        .seed = static_cast<uint64_t>(config.seed),
                        .rank = ranks.rank(),
                        .world = ranks.world(),
                        .trained_with = trained_with});
}

ParameterArena make_arena(LanguageModel& model, const Config& config, Device device, int64_t ranks) {
  const int64_t needed = state_bytes(model, config, ranks), available = available_memory_bytes();
  expect(!device.is_cpu() || needed <= available,
         "the model's {} parameters take {} with gradients and optimizer, and {} are free; make it smaller: n_layer, "
         "n_embd or vocab_size",
         human_count(static_cast<double>(parameter_count(model))), human_bytes(needed), human_bytes(available));
  return {model, arena_options(config, device, ranks)};
}

GradientReducer::Options reducer_options(const Config& config) {
  constexpr double kMiB = 1 << 20;
  return {.first_bucket_bytes = static_cast<int64_t>(config.first_bucket_mb * kMiB),
          .bucket_bytes = static_cast<int64_t>(config.bucket_mb * kMiB),
          .mode = config.zero == 1 ? GradientReducer::Mode::own_part : GradientReducer::Mode::all,
          .in_bf16 = config.reduce_dtype == DType::bf16 && config.dtype != DType::f64};
}

Optimizer make_optimizer(ParameterArena& arena, const Config& config, std::vector<ArenaRange> owned) {
  if (config.zero == 1 && arena.mirror().defined()) arena.keep_masters(owned);
  const StepPolicy policy = step_policy(config);
  const StepState initial = initial_state(config);
  if (config.optimizer == Config::Optimizer::sgd) {
    const Sgd::Options rule{.momentum = config.momentum, .weight_decay = config.weight_decay};
    return {arena, rule, policy, initial, std::move(owned)};
  }
  const AdamW::Options rule{.beta1 = config.beta1,
                            .beta2 = config.beta2,
                            .epsilon = config.epsilon,
                            .weight_decay = config.weight_decay,
                            .seed = static_cast<uint64_t>(config.seed)};
  return {arena, rule, policy, initial, std::move(owned)};
}

// A recording holds the addresses of one device.
std::string reason_for_no_graph(const Config& config, const Communicator& ranks) {
  if (config.cuda_graph == Config::CudaGraph::off) return "cuda_graph = off";
  if (ranks.world() > 1 && !ranks.on_stream()) return "gradients of several ranks travel through the host";
  return config.parallel ? "parallel = True uses more than one device" : "";
}

}  // namespace tessera
