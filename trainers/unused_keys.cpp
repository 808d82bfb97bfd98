#include "trainers/unused_keys.h"

#include <algorithm>

#include <fmt/format.h>

#include "trainers/config/config_text.h"
#include "trainers/say.h"

namespace tessera {
namespace {

bool is_on_command_line(const LoadedConfig& loaded, const std::string& key) {
  const auto origin = loaded.origins.find(key);
  return origin != loaded.origins.end() && origin->second == kFromCommandLine;
}

std::string reason_for(std::string_view key, std::string_view command, std::initializer_list<IgnoredKey> reasons) {
  const auto found = std::ranges::find(reasons, key, &IgnoredKey::name);
  if (found != reasons.end()) return std::string(found->why);
  return fmt::format("{} {}", command, key == "ranks" ? "is one process" : "has no use for it");
}

}  // namespace

void tell_unused(const LoadedConfig& loaded, std::string_view command, std::initializer_list<std::string_view> used,
                 std::initializer_list<IgnoredKey> reasons) {
  const auto uses = [&](std::string_view name) { return std::ranges::find(used, name) != used.end(); };
  for (const OptionSection& section : option_sections()) {
    for (const Option& option : section.options) {
      if (uses(section.title) || uses(option.name) || !is_on_command_line(loaded, option.name)) continue;
      say("Ignored: {} = {} ({})\n", option.name, quote_config_value(option.text(loaded.config)),
          reason_for(option.name, command, reasons));
    }
  }
}

}  // namespace tessera
