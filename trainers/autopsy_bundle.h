// What a non-finite step leaves behind: a folder with its config, weights and batch, which `tessera replay` runs again.
#pragma once

#include <filesystem>

#include "framework/amp/autopsy.h"
#include "framework/data/dataset.h"
#include "modules/language_model.h"
#include "trainers/step_graph.h"

namespace tessera {

class Trainer;

/// Runs the micro-steps again with every tensor looked at. Gradients in the arena are overwritten.
std::optional<Finding> examine(const LanguageModel& model, const ParameterArena& arena,
                               std::span<const MicroStep> micro_steps, Pass::Options options, float scale,
                               double tokens);

/// Examines the step that `trainer` just skipped and writes the bundle into its run folder. `scale` is what the loss
/// was multiplied by. Returns what to tell: the finding and the folder. Collective: the first rank with a finding
/// writes its batch.
std::string write_autopsy(const Trainer& trainer, const std::filesystem::path& run_folder,
                          const std::string& config_text, float scale);

/// `tessera replay BUNDLE`
int run_replay(std::span<const std::string> arguments);

}  // namespace tessera
