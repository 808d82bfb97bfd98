// Keys that a command line sets although its command has no use for them.
#pragma once

#include <initializer_list>
#include <string_view>

#include "trainers/config/load.h"
#include "trainers/config/options.h"

namespace tessera {

/// Prints `Ignored: KEY = VALUE (why)` for every key on the command line that `command` does not use. `used`: keys, and
/// titles of sections of the option table. `reasons`: why a key is ignored, where that is not plain.
void tell_unused(const LoadedConfig& loaded, std::string_view command, std::initializer_list<std::string_view> used,
                 std::initializer_list<IgnoredKey> reasons = {});

}  // namespace tessera
