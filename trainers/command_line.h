// The command line: `tessera COMMAND [CONFIG | RUN] [--key=value …]`, from a table of commands.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace tessera {

/// One command. `run` gets the words after the command's name (see `load_config`) and returns the exit code; what goes
/// wrong it throws.
struct Command {
  std::string_view name;
  std::string_view arguments;  ///< for the usage line: "CONFIG [--key=value ...]"
  std::string_view help;       ///< one line
  int (*run)(std::span<const std::string> arguments);
  std::string_view section = {};  ///< of the option table, the only one whose keys its help lists; empty: all
  std::string_view details = {};  ///< what its help says besides
};

/// Runs the command that the first word names; `help`, `version` and `--help` behind any command are built in. Throws
/// UsageError for an unknown command, with the nearest one.
int dispatch(std::span<const Command> commands, std::span<const std::string> words);

/// `tessera config [CONFIG] [--key=value ...]` prints the effective settings; `--markdown` the page docs/config.md.
int run_config(std::span<const std::string> arguments);

/// Runs `program`, turns what it throws into one line `tessera: …` on stderr, and returns the exit code: 2 for
/// UsageError, 1 for every other exception.
int exit_code_of(int (*program)(std::span<const std::string> words), std::span<const std::string> words);

}  // namespace tessera
