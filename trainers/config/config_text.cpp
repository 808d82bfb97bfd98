#include "trainers/config/config_text.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "trainers/usage_error.h"

namespace tessera {
namespace {

constexpr std::string_view kBlank = " \t";
constexpr std::pair<char, char> kEscapes[] = {{'n', '\n'},  {'t', '\t'}, {'r', '\r'},
                                              {'\\', '\\'}, {'"', '"'},  {'\'', '\''}};

/// The text up to a `#` at its start or after a blank.
std::string_view strip_comment(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '#' && (i == 0 || kBlank.find(text[i - 1]) != kBlank.npos)) return text.substr(0, i);
  }
  return text;
}

/// Consumes `text` from its opening quote to the closing one; false where that is missing.
bool take_quoted(std::string_view& text, std::string& value) {
  const char quote = text.front();
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == quote) {
      text.remove_prefix(i + 1);
      return true;
    }
    const auto* escape =
        std::ranges::find(kEscapes, i + 1 < text.size() ? text[i + 1] : '\0', &std::pair<char, char>::first);
    const bool escaped = text[i] == '\\' && escape != std::end(kEscapes);
    value += escaped ? escape->second : text[i];
    i += escaped;
  }
  return false;
}

/// At most 60 printable bytes of what was found, for a message.
std::string excerpt(std::string_view text) {
  constexpr size_t kMost = 60;
  std::string shown(text.substr(0, kMost));
  for (char& c : shown) c = c >= 0 && c < ' ' ? '?' : c;
  return text.size() > kMost ? shown + "…" : shown;
}

std::string parse_value(std::string_view text, const std::string& place, std::string_view key) {
  text = trim(text);
  if (text.empty() || (text.front() != '"' && text.front() != '\'')) return std::string(trim(strip_comment(text)));
  std::string value;
  const char quote = text.front();
  if (!take_quoted(text, value))
    throw UsageError(fmt::format("{}: {} has an opening {} and no closing one", place, key, quote));
  const std::string_view rest = trim(strip_comment(text));
  if (!rest.empty())
    throw UsageError(fmt::format("{}: {} has something after its closing quote: {}", place, key, excerpt(rest)));
  return value;
}

}  // namespace

std::string_view trim(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kBlank), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

std::vector<ConfigLine> parse_config_text(std::string_view text, const std::string& file) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // the mark that some editors put first
  std::vector<ConfigLine> lines;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (trim(strip_comment(line)).empty()) continue;
    const std::string place = fmt::format("{}:{}", file, number);
    const size_t equals = line.find('=');
    const std::string_view key = trim(line.substr(0, std::min(equals, line.size())));
    if (equals == line.npos || key.empty())
      throw UsageError(fmt::format("{}: expected `key = value`, found: {}", place, excerpt(trim(line))));
    lines.push_back({number, std::string(key), parse_value(line.substr(equals + 1), place, key)});
  }
  return lines;
}

std::string quote_config_value(const std::string& value) {
  const bool plain = !value.empty() && value.find_first_of("#\"'\\\n\r\t") == value.npos && trim(value) == value;
  if (plain) return value;
  std::string quoted = "\"";
  for (const char c : value) {
    const auto* escape = std::ranges::find(kEscapes, c, &std::pair<char, char>::second);
    if (escape == std::end(kEscapes) || c == '\'') {
      quoted += c;
    } else {
      quoted += {'\\', escape->first};
    }
  }
  return quoted + '"';
}

}  // namespace tessera
