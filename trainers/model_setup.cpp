#include "trainers/model_setup.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "trainers/config/options.h"

namespace tessera {
namespace {

// Weights of the right shapes can belong to another function: heads, norms, windows and activations have no shape.
constexpr std::array kArchitecture = {"n_layer",  "n_head",     "kv_heads",       "n_embd", "bias",   "norm",
                                      "position", "activation", "tie_embeddings", "window", "softcap"};
// These have one, but a sentence about tensors names no setting. Older checkpoints do not say them.
constexpr std::array kExtents = {"vocab_size", "block_size"};

// Only a learned table of positions ties a model to one length.
bool decides(std::string_view extent, const Config& config) {
  return extent != "block_size" || config.position == LanguageModel::Position::learned;
}

// `whose` is what the setting `key` belongs to.
void expect_unchanged(const CheckpointState& saved, const char* whose, const char* key, const std::string& now) {
  const std::string then = saved.text_at(key);
  expect(then == now,
         "checkpoint {}: its {} has {} = {}, this config says {}; leave {} as it was, or train a new model in another "
         "out_dir",
         saved.path.parent_path().string(), whose, key, then, now, key);
}

}  // namespace

std::string device_name_of(std::string_view name, const Rendezvous& place, int gpus) {
  const bool open = name == "cuda" || name == "auto";
  if (!open || gpus == 0 || place.world == 1) return std::string(name);
  return "cuda:" + std::to_string(place.local_rank % gpus);
}

Device device_of(const Config& config) {
  return Device::parse(device_name_of(config.device, find_rendezvous(), cuda_device_count()));
}

LanguageModel::Options model_options(const Config& config, int64_t vocab_size) {
  return {.vocab_size = vocab_size,
          .block_size = config.block_size,
          .n_layer = config.n_layer,
          .n_head = config.n_head,
          .n_embd = config.n_embd,
          .kv_heads = config.effective_kv_heads(),
          .dropout = config.dropout,
          .bias = config.bias,
          .norm = config.norm,
          .position = config.position,
          .activation = config.activation,
          .window = config.window,
          .softcap = config.softcap,
          .tie_embeddings = config.tie_embeddings,
          .recompute = config.recompute,
          .parallel = config.parallel,
          .devices = config.device_indices(),
          .q_bucket_size = config.q_bucket_size,
          .k_bucket_size = config.k_bucket_size,
          .deterministic = config.deterministic,
          .dtype = config.dtype,
          .residual_dtype = config.effective_residual_dtype()};
}

nlohmann::json architecture_of(const Config& config, int64_t vocab_size) {
  Config resolved = config;
  resolved.kv_heads = config.effective_kv_heads();
  resolved.vocab_size = vocab_size;
  nlohmann::json architecture;
  for (const char* key : kArchitecture) architecture[key] = find_option(key)->text(resolved);
  for (const char* key : kExtents) architecture[key] = find_option(key)->text(resolved);
  return architecture;
}

void expect_same_architecture(const CheckpointState& saved, const Config& config) {
  const int64_t vocab_size = config.vocab_size > 0 ? config.vocab_size : tokenizer_of(saved).vocab_size();
  const nlohmann::json here = architecture_of(config, vocab_size);
  for (const char* key : kArchitecture) expect_unchanged(saved, "model", key, here.at(key));
  for (const char* key : kExtents) {
    if (decides(key, config) && saved.has(key)) expect_unchanged(saved, "model", key, here.at(key));
  }
}

void expect_same_optimizer(const CheckpointState& saved, const Config& config) {
  if (!saved.has("optimizer")) return;  // older ones do not say
  expect_unchanged(saved, "training", "optimizer", find_option("optimizer")->text(config));
}

std::string order_of(const Config& config) {
  return fmt::format("seed = {}, block_size = {}, batch_size * gradient_accumulation_steps = {}", config.seed,
                     config.block_size, config.batch_size * config.gradient_accumulation_steps);
}

ParameterArena::Options arena_options(const Config& config, Device device, int64_t ranks) {
  return {.seed = static_cast<uint64_t>(config.seed),
          .dtype = accumulate_dtype(config.dtype),
          .device = device,
          .mirror = is_16bit_float(config.dtype) ? std::optional(config.dtype) : std::nullopt,
          .master_weights = config.master_weights,
          .parts = ranks};
}

StepPolicy step_policy(const Config& config) {
  return {.schedule = {.kind = config.effective_schedule(),
                       .learning_rate = config.learning_rate,
                       .min_lr = config.min_lr,
                       .warmup_iters = config.warmup_iters,
                       .decay_iters = config.effective_lr_decay_iters()},
          .scaling = {.dynamic = config.dynamic_loss_scale(),
                      .growth_factor = static_cast<float>(config.growth_factor),
                      .backoff_factor = static_cast<float>(config.backoff_factor),
                      .growth_interval = static_cast<int32_t>(config.growth_interval),
                      .hysteresis = static_cast<int32_t>(config.hysteresis),
                      .min_scale = static_cast<float>(config.min_scale),
                      .max_scale = static_cast<float>(config.max_scale)},
          .grad_clip = config.grad_clip,
          .hold_after_skip = true};
}

StepState initial_state(const Config& config) {
  return {.scale = static_cast<float>(config.first_loss_scale()),
          .hysteresis_left = static_cast<int32_t>(config.hysteresis)};
}

// Gradients and the weights that layers read, of which every rank has all; moments, and the masters of 16-bit weights.
// ZeRO splits these, once every rank has drawn all first values.
int64_t state_bytes(const LanguageModel& model, const Config& config, int64_t ranks) {
  const ParameterArena::Options arena = arena_options(config, Device::cpu());
  const bool adamw = config.optimizer == Config::Optimizer::adamw;
  const int64_t wide = size_of(arena.dtype);
  const int64_t shared = wide + (arena.mirror ? size_of(*arena.mirror) : wide);
  const int64_t masters = arena.mirror && arena.master_weights ? wide : 0;
  const int64_t moments = (adamw ? 2 : config.momentum > 0 ? 1 : 0) * wide;
  const int64_t parts = config.zero == 1 ? ranks : 1;
  return parameter_count(model) * std::max(shared + masters, shared + (masters + moments) / parts);
}

Tokenizer tokenizer_of(const CheckpointState& saved) {
  try {
    return Tokenizer::from_json(saved.at("tokenizer"));
  } catch (const Error& error) {
    fail("checkpoint {}: {}", saved.path.string(), error.what());
  }
}

int64_t vocab_size_of(const Config& config, const Tokenizer& tokenizer) {
  return std::max(config.vocab_size, tokenizer.vocab_size());
}

int64_t matmul_parameters(const LanguageModel& model) {
  int64_t count = 0;
  for (const ParameterPtr& parameter : parameters(model)) {
    if (parameter->shape.rank() >= 2) count += parameter->shape.numel();
  }
  if (model.wpe) count -= model.wpe->weight.shape().numel();
  if (model.lm_head) count -= model.wte.weight.shape().numel();
  return count;
}

double flops_per_token(const LanguageModel& model) {
  const LanguageModel::Options& options = model.options;
  return 6.0 * static_cast<double>(matmul_parameters(model)) +
         6.0 * static_cast<double>(options.n_layer * options.n_embd * options.block_size);
}

}  // namespace tessera
