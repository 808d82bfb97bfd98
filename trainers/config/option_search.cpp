// Finding a key in the option table, or the one that was meant.
#include <algorithm>

#include "trainers/config/options.h"
#include "trainers/nearest.h"

namespace tessera {

const Option* find_option(std::string_view name) {
  for (const OptionSection& section : option_sections()) {
    const auto found = std::ranges::find(section.options, name, &Option::name);
    if (found != section.options.end()) return &*found;
  }
  return nullptr;
}

const IgnoredKey* find_ignored_key(std::string_view name) {
  for (const IgnoredKey& key : ignored_keys()) {
    const bool prefix = key.name.ends_with('*') && name.starts_with(key.name.substr(0, key.name.size() - 1));
    if (prefix || key.name == name) return &key;
  }
  return nullptr;
}

std::optional<std::string> nearest_option(std::string_view name) {
  std::string word(name);
  std::ranges::replace(word, '-', '_');
  std::vector<std::string> names;
  for (const OptionSection& section : option_sections()) {
    for (const Option& option : section.options) {
      if (std::ranges::count(option.synonyms, word)) return option.name;
      names.push_back(option.name);
    }
  }
  return nearest(word, names);
}

}  // namespace tessera
