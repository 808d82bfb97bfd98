// From the settings of a run, or its checkpoint, to what the framework and the model are built from.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "framework/data/tokenizer.h"
#include "framework/distributed/rendezvous.h"
#include "framework/io/checkpoint.h"
#include "framework/optim/step_control.h"
#include "modules/language_model.h"
#include "trainers/config/config.h"

namespace tessera {

/// The device that `name`, a setting `device`, means for a rank where `gpus` GPUs are visible: of the ranks of a host,
/// each takes the GPU of its number, where the name leaves that open.
std::string device_name_of(std::string_view name, const Rendezvous& place, int gpus);
/// The same for this process.
Device device_of(const Config& config);

/// The model that `config` describes, for a vocabulary of `vocab_size` tokens.
LanguageModel::Options model_options(const Config& config, int64_t vocab_size);

/// The keys of `config` that decide what the weights of a model mean and how many there are, with their values as text,
/// `vocab_size` as the model has it: a checkpoint keeps them.
nlohmann::json architecture_of(const Config& config, int64_t vocab_size);

/// Error: `config` describes another model than the one that was saved, for text in its tokens. Names the checkpoint
/// and the key.
void expect_same_architecture(const CheckpointState& saved, const Config& config);

/// Error: the config names another optimizer than the one whose state was saved. Names the checkpoint.
void expect_same_optimizer(const CheckpointState& saved, const Config& config);

/// The settings of `config` that decide which rows of the data a step reads, as text: a checkpoint keeps it.
std::string order_of(const Config& config);

/// Master weights that split over `ranks`, and the 16-bit mirror where the model computes in 16 bit.
ParameterArena::Options arena_options(const Config& config, Device device, int64_t ranks = 1);

/// Schedule, clipping and loss scaling.
StepPolicy step_policy(const Config& config);

/// The state before the first step.
StepState initial_state(const Config& config);

/// Bytes of weights, gradients, their 16-bit copy and what the optimizer remembers on one of `ranks`; nothing is
/// allocated for the answer.
int64_t state_bytes(const LanguageModel& model, const Config& config, int64_t ranks = 1);

/// The tokenizer that a checkpoint's model was trained with. Errors name the file.
Tokenizer tokenizer_of(const CheckpointState& saved);

/// Tokens of a model of `config` for text of `tokenizer`: config.vocab_size may ask for more than that has.
int64_t vocab_size_of(const Config& config, const Tokenizer& tokenizer);

/// Weights that take part in matrix products, the tied output layer included.
int64_t matmul_parameters(const LanguageModel& model);

/// Floating-point operations of training on one token: 6 per weight in a product, and attention's
/// 6·n_layer·n_embd·block_size (causal).
double flops_per_token(const LanguageModel& model);

}  // namespace tessera
