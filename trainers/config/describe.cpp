#include "trainers/config/describe.h"

#include <sstream>

#include <boost/program_options.hpp>
#include <fmt/format.h>

#include "trainers/config/config_text.h"
#include "trainers/config/options.h"

namespace tessera {
namespace {

namespace po = boost::program_options;

constexpr const char* kIntroduction =
    R"(# Configuration keys

<!-- Made by `tessera config --markdown` from trainers/config/options.cpp; a test compares the two. -->

A config file has one `key = value` per line. A comment starts with `#` at the start of a line or after a blank. A value
in single or double quotes keeps everything between them, with `\n \t \r \\ \" \'` as in Python. Any key can follow on the
command line as `--key=value` or `--key value`, taken as it is typed: the file is read first, the command line wins.

    tessera train examples/shakespeare_char.cfg --batch_size=32

`tessera config FILE` prints the settings that a run would use and where each came from; `config.cfg` in a run folder is
that print, and repeats the run. Truth values are `True`, `False`, `true`, `false`, `1` or `0`. An integer may be a
product of integers, such as `5 * 8`.
)";

/// `text` with what a Markdown table would take for markup escaped.
std::string cell(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|' || c == '*' || c == '<') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string default_text(const Option& option) { return quote_config_value(option.text(Config())); }

}  // namespace

std::string options_help(std::string_view wanted) {
  constexpr unsigned kWidth = 100, kDescription = 60;
  po::options_description all("Keys, with their defaults", kWidth, kDescription);
  for (const OptionSection& section : option_sections()) {
    if (!wanted.empty() && section.title != wanted) continue;
    po::options_description description(section.title, kWidth, kDescription);
    for (const Option& option : section.options) {
      const std::string meaning = fmt::format("{} ({})", option.help, option.accepts);
      const auto value = po::value<std::string>()->value_name(default_text(option));
      description.add_options()(option.name.c_str(), value, meaning.c_str());
    }
    all.add(description);
  }
  std::ostringstream help;
  help << all;
  return help.str();
}

std::string options_markdown() {
  std::string page = kIntroduction;
  for (const OptionSection& section : option_sections()) {
    page += fmt::format("\n## {}\n\n| key | default | takes | meaning |\n|---|---|---|---|\n", section.title);
    for (const Option& option : section.options)
      page += fmt::format("| `{}` | `{}` | {} | {} |\n", option.name, default_text(option), cell(option.accepts),
                          cell(option.help));
  }
  page +=
      "\n## Accepted and ignored\n\nWith a notice, so that a file that trains nanoGPT from scratch takes one change: "
      "`dataset = NAME` becomes `data = PATH`, the text itself.\n\n| key | why |\n|---|---|\n";
  for (const IgnoredKey& key : ignored_keys()) page += fmt::format("| `{}` | {} |\n", key.name, cell(key.why));
  return page;
}

std::string effective_config(const LoadedConfig& loaded) {
  std::string dump = "# The settings of a run and where they came from; `tessera train` with this file repeats it.\n";
  for (const OptionSection& section : option_sections()) {
    dump += fmt::format("\n# {}\n", section.title);
    for (const Option& option : section.options) {
      const auto origin = loaded.origins.find(option.name);
      const std::string setting = fmt::format("{} = {}", option.name, quote_config_value(option.text(loaded.config)));
      dump += fmt::format("{:<38} # {}\n", setting, origin == loaded.origins.end() ? "default" : origin->second);
    }
  }
  return dump;
}

}  // namespace tessera
