// Whatever the text, reading a config file either throws a UsageError or gives settings whose dump reads back the same.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "trainers/config/describe.h"
#include "trainers/config/load.h"
#include "trainers/config/options.h"
#include "trainers/usage_error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  const std::string text(reinterpret_cast<const char*>(input), size);
  try {
    tessera::LoadedConfig loaded;
    tessera::apply_config_text(loaded, text, "fuzz.cfg");
    tessera::validate(loaded.config);
    const std::string dump = tessera::effective_config(loaded);
    tessera::LoadedConfig again;
    try {
      tessera::apply_config_text(again, dump, "dump.cfg");
    } catch (const tessera::UsageError&) {
      std::abort();
    }
    for (const auto& [key, origin] : loaded.origins) {
      const tessera::Option& option = *tessera::find_option(key);
      if (option.text(loaded.config) != option.text(again.config)) std::abort();
    }
  } catch (const tessera::UsageError&) {
  }
  return 0;
}
