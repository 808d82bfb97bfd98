// From a file and a command line to a Config. The file comes first, the command line wins, and where each value came
// from is kept. Boost.Program_options reads both, a file's line being one more `--key=value`, without guessing names.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainers/config/config.h"

namespace tessera {

/// The origin of what stands on the command line.
inline constexpr const char* kFromCommandLine = "command line";

struct LoadedConfig {
  Config config;
  std::string file;                            ///< the file read; empty where none was named
  std::map<std::string, std::string> origins;  ///< key → "toy.cfg:3" or kFromCommandLine; a default has no entry
  std::vector<std::string> notices;            ///< one line each: `Overriding: batch_size = 32`, `Ignored: compile …`
};

/// Reads `[FILE] [--key=value | --key value …]`, the words after the command; FILE may be a run folder, which stands
/// for its config.cfg; a folder with checkpoints beside its config.cfg is `out_dir`, wherever it was moved to. Throws
/// UsageError that names the file and line, or the word, and the nearest key. The result has passed `validate`.
LoadedConfig load_config(std::span<const std::string> arguments);

/// Sets what the text of a file says; `file` names it in messages.
void apply_config_text(LoadedConfig& loaded, std::string_view text, const std::string& file);

}  // namespace tessera
