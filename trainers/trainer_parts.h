// What a Trainer is made of, from the settings of its run.
#pragma once

#include "framework/data/dataset.h"
#include "framework/distributed/gradient_reducer.h"
#include "framework/optim/optimizer.h"
#include "modules/language_model.h"
#include "trainers/config/config.h"

namespace tessera {

/// The data, of which this rank takes its share, in the tokens of `trained_with` where there is one. Error: `data` is
/// not set, or cannot be trained on.
DataSet open_data(const Config& config, const Communicator& ranks, const std::optional<Tokenizer>& trained_with);

/// The model's weights and gradients on the device. Error: they take more memory than the CPU has.
ParameterArena make_arena(LanguageModel& model, const Config& config, Device device, int64_t ranks);

GradientReducer::Options reducer_options(const Config& config);

/// AdamW or SGD over the parts of the arena that this rank owns. With ZeRO the arena, too, keeps no other float32
/// weights.
Optimizer make_optimizer(ParameterArena& arena, const Config& config, std::vector<ArenaRange> owned);

/// Why steps cannot be recorded as a CUDA graph; empty where they can.
std::string reason_for_no_graph(const Config& config, const Communicator& ranks);

}  // namespace tessera
