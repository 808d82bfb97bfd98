// The grammar of a config file: one `key = value` per line, comments from a `#` that opens the line or follows a blank.
// A value in single or double quotes keeps every character, with \n \t \r \\ \" \' as in Python.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tessera {

/// One setting of a file.
struct ConfigLine {
  int line;  ///< counted from 1
  std::string key;
  std::string value;  ///< without its quotes
};

/// The text without the blanks and tabs around it.
std::string_view trim(std::string_view text);

/// The settings in `text`, in order. `file` names it in messages. Throws UsageError for a line that is none.
std::vector<ConfigLine> parse_config_text(std::string_view text, const std::string& file);

/// The value as `parse_config_text` reads it back: in quotes where it needs them.
std::string quote_config_value(const std::string& value);

}  // namespace tessera
