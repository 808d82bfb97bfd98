// Samples as text: what the end of a training and `tessera sample` show, and samples.txt keeps.
#pragma once

#include <filesystem>
#include <string>

#include "framework/data/tokenizer.h"
#include "modules/language_model.h"
#include "trainers/config/config.h"

namespace tessera {

/// `count` continuations of the prompt `config.start`, prompt included, set apart by lines of dashes.
std::string draw_samples(const LanguageModel& model, const Tokenizer& tokenizer, const Config& config, int64_t count);

/// Adds them to `folder`/samples.txt under a heading that names the step. Error: they cannot be written.
void append_samples(const std::filesystem::path& folder, int64_t step, const std::string& text);

}  // namespace tessera
