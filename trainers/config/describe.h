// What people read of the option table: the help, the reference page and the dump of a run's settings.
#pragma once

#include <string>
#include <string_view>

#include "trainers/config/load.h"

namespace tessera {

/// Every key (of the section with that title, or of all) with what it accepts, its default and its meaning, for a
/// terminal of 100 columns.
std::string options_help(std::string_view wanted = {});

/// The page docs/config.md.
std::string options_markdown();

/// A config file that repeats the run: every key with its value, and as a comment where that came from.
std::string effective_config(const LoadedConfig& loaded);

}  // namespace tessera
