// The option table: every key of a config file and of the command line, declared once.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainers/config/option.h"

namespace tessera {

struct OptionSection {
  std::string title;
  std::vector<Option> options;
};

/// The table, in the order of the help and the docs.
const std::vector<OptionSection>& option_sections();

/// A key that nanoGPT's files set and that means nothing here: accepted with a notice that says why.
struct IgnoredKey {
  std::string_view name;  ///< a name, or a prefix where it ends in `*`
  std::string_view why;
};

const std::vector<IgnoredKey>& ignored_keys();

/// The option of that name; null where there is none.
const Option* find_option(std::string_view name);

/// The row of `ignored_keys` that covers the name; null where none does.
const IgnoredKey* find_ignored_key(std::string_view name);

/// The key that was probably meant: another program's name for it, a beginning of it, or a few letters away.
std::optional<std::string> nearest_option(std::string_view name);

}  // namespace tessera
