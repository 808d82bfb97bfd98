#include "trainers/config/load.h"

#include <filesystem>
#include <fstream>
#include <utility>

#include <boost/program_options.hpp>
#include <fmt/format.h>

#include "trainers/config/config_text.h"
#include "trainers/config/options.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

constexpr size_t kLargestFile = 1 << 20;  // bytes; whatever is larger is not a config file

/// A parsed word: a setting, or (where `key` is empty) a word that belongs to no key.
struct Word {
  std::string key, value;
};

const po::options_description& descriptions() {
  static const po::options_description all = [] {
    po::options_description description;
    for (const OptionSection& section : option_sections()) {
      for (const Option& option : section.options)
        description.add_options()(option.name.c_str(), po::value<std::string>());
    }
    for (const IgnoredKey& key : ignored_keys())
      description.add_options()(std::string(key.name).c_str(), po::value<std::string>());
    return description;
  }();
  return all;
}

/// Program_options refuses `--key=` with nothing behind it; as two words it is an empty value.
std::vector<std::string> split_empty_values(std::span<const std::string> arguments) {
  std::vector<std::string> words;
  for (const std::string& word : arguments) {
    const bool empty_value = word.starts_with("--") && word.find('=') == word.size() - 1;
    words.push_back(empty_value ? word.substr(0, word.size() - 1) : word);
    if (empty_value) words.emplace_back();
  }
  return words;
}

std::vector<Word> parse_words(std::span<const std::string> arguments) {
  constexpr int kStyle = po::command_line_style::allow_long | po::command_line_style::long_allow_adjacent |
                         po::command_line_style::long_allow_next;  // no allow_guessing
  std::vector<Word> words;
  try {
    const std::vector<std::string> split = split_empty_values(arguments);
    const auto parsed = po::command_line_parser(split).options(descriptions()).style(kStyle).allow_unregistered().run();
    for (const po::option& option : parsed.options)
      words.push_back({option.string_key, option.value.empty() ? std::string() : option.value.front()});
  } catch (const po::invalid_command_line_syntax& error) {
    throw UsageError(fmt::format("{} needs a value: write {}=VALUE", error.get_option_name(), error.get_option_name()));
  } catch (const po::error& error) {
    throw UsageError(error.what());
  }
  return words;
}

void refuse_unknown(const Word& word, const std::string& place) {
  if (find_option(word.key) || find_ignored_key(word.key)) return;
  const auto meant = nearest_option(word.key);
  const std::string cure = word.key == "dataset" ? "data names the text itself, as in data = input.txt"
                           : meant               ? fmt::format("did you mean {}?", *meant)
                                                 : "`tessera config` lists every key";
  throw UsageError(fmt::format("{}: unknown key {}; {}", place, word.key, cure));
}

/// Sets one value; false where the key is one to ignore. `place` names the spot in messages, `origin` is remembered.
bool assign(LoadedConfig& loaded, const Word& word, const std::string& place, const std::string& origin) {
  if (const IgnoredKey* ignored = find_ignored_key(word.key)) {
    loaded.notices.push_back(fmt::format("Ignored: {} = {} ({})", word.key, word.value, ignored->why));
    return false;
  }
  refuse_unknown(word, place);
  const Option* option = find_option(word.key);
  if (!option->assign(loaded.config, word.value))
    throw UsageError(
        fmt::format("{}: {} wants {}, got {}", place, word.key, option->accepts, quote_config_value(word.value)));
  loaded.origins[word.key] = origin;
  return true;
}

std::string read_config_file(const std::string& path) {
  std::error_code unreadable;
  if (fs::is_directory(path, unreadable))
    throw UsageError(fmt::format("{} is a folder without a config.cfg; name a config file or a run folder", path));
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw UsageError(fmt::format("cannot read the config file {}: {}; name a config file or a run folder", path,
                                 std::generic_category().message(errno)));
  std::string text(kLargestFile + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kLargestFile)
    throw UsageError(fmt::format("{} is larger than 1 MiB and so not a config file", path));
  return text;
}

/// A run folder may have been moved since its config.cfg was written: it is where it lies, not where that says.
void take_run_folder(LoadedConfig& loaded, const fs::path& folder) {
  std::error_code absent;
  if (!fs::equivalent(loaded.config.out_dir, folder, absent)) loaded.config.out_dir = folder.string();
}

void apply_config_file(LoadedConfig& loaded, const std::string& path) {
  const fs::path inside = fs::path(path) / "config.cfg";
  std::error_code unreadable;
  const bool is_run = fs::exists(inside, unreadable);
  loaded.file = is_run ? inside.string() : path;
  apply_config_text(loaded, read_config_file(loaded.file), loaded.file);
  const fs::path file = fs::absolute(loaded.file, unreadable);
  if (is_run) take_run_folder(loaded, path);
  else if (file.filename() == "config.cfg" && fs::exists(file.parent_path() / "latest", unreadable))
    take_run_folder(loaded, fs::path(path).has_parent_path() ? fs::path(path).parent_path() : ".");
}

/// The one word without a key; the arguments hold no other.
std::string config_file_among(const std::vector<Word>& words) {
  std::string file;
  for (const Word& word : words) {
    if (!word.key.empty()) continue;
    if (word.value.starts_with('-'))
      throw UsageError(fmt::format("settings are written --key=value, got {}", word.value));
    if (word.value.find('=') != std::string::npos)
      throw UsageError(fmt::format("expected --key=value, got {}; did you mean --{}?", word.value, word.value));
    if (!file.empty()) throw UsageError(fmt::format("expected one config file, got {} and {}", file, word.value));
    file = word.value;
  }
  return file;
}

}  // namespace

void apply_config_text(LoadedConfig& loaded, std::string_view text, const std::string& file) {
  std::map<std::string, int> seen;
  for (const ConfigLine& line : parse_config_text(text, file)) {
    const std::string place = fmt::format("{}:{}", file, line.line);
    const auto [first, is_new] = seen.emplace(line.key, line.line);
    if (!is_new)
      throw UsageError(
          fmt::format("{}: {} is already set in line {}; remove one of them", place, line.key, first->second));
    const std::string argument[] = {fmt::format("--{}={}", line.key, line.value)};
    for (const Word& word : parse_words(argument)) assign(loaded, word, place, place);
  }
}

LoadedConfig load_config(std::span<const std::string> arguments) {
  const std::vector<Word> words = parse_words(arguments);
  for (const Word& word : words) {
    if (!word.key.empty()) refuse_unknown(word, "--" + word.key);  // its value may look like a file
  }
  LoadedConfig loaded;
  const std::string file = config_file_among(words);
  if (!file.empty()) apply_config_file(loaded, file);
  for (const Word& word : words) {
    if (word.key.empty()) continue;
    if (!assign(loaded, word, "--" + word.key, kFromCommandLine)) continue;
    const std::string value = find_option(word.key)->text(loaded.config);
    loaded.notices.push_back(fmt::format("Overriding: {} = {}", word.key, quote_config_value(value)));
  }
  validate(loaded.config);
  return loaded;
}

}  // namespace tessera
