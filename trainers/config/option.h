// One row of the option table: a key, the member of Config it sets, what it accepts and what it means. The member's
// type chooses the factory; the text of `accepts` is made from the range that is checked, so the two cannot differ.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trainers/config/config.h"

namespace tessera {

struct Option {
  std::string name;
  std::string accepts;                                      ///< for people, completes "n_layer wants …"
  std::string help;                                         ///< what it means, with its unit
  std::vector<std::string> synonyms;                        ///< names that other programs use; suggested, not accepted
  std::function<bool(Config&, const std::string&)> assign;  ///< false: the text is not what `accepts` says
  std::function<std::string(const Config&)> text;           ///< the value as it is written in a file, unquoted

  /// The option with names of other programs that lead to it.
  Option also(std::vector<std::string> names) &&;
};

/// So large that nobody means it, and so small that sums of a few never overflow.
inline constexpr int64_t kUnbounded = 1'000'000'000'000'000;

/// A range of integers, both ends included.
struct Integers {
  int64_t low = 0;
  int64_t high = kUnbounded;
};

/// A range of finite numbers; an open end is not itself allowed.
struct Reals {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  bool open_low = false;
  bool open_high = false;
};

/// Decimal digits with a sign, nothing before or after; or a product of such, `5 * 8`.
Option integer(std::string name, int64_t Config::*member, Integers range, std::string help);
/// A finite decimal number, integers included.
Option real(std::string name, double Config::*member, Reals range, std::string help);
/// True, true, 1, False, false, 0.
Option flag(std::string name, bool Config::*member, std::string help);
/// Any text.
Option text(std::string name, std::string Config::*member, std::string accepts, std::string help);
/// A text that `check` takes; `accepts` says in words what that is.
Option text(std::string name, std::string Config::*member, std::string accepts, bool (*check)(std::string_view),
            std::string help);
/// One of the names, each standing for a value.
template <class Value>
Option choice(std::string name, Value Config::*member, std::vector<std::pair<std::string, Value>> values,
              std::string help);

/// The whole text as an integer or a finite number; false where anything is left over or it does not fit.
bool parse_integer(std::string_view text, int64_t& value);
bool parse_real(std::string_view text, double& value);

template <class Value>
Option choice(std::string name, Value Config::*member, std::vector<std::pair<std::string, Value>> values,
              std::string help) {
  std::string accepts;
  for (const auto& [word, value] : values) accepts += (accepts.empty() ? "" : " | ") + word;
  auto assign = [=](Config& config, const std::string& text) {
    for (const auto& [word, value] : values) {
      if (word != text) continue;
      config.*member = value;
      return true;
    }
    return false;
  };
  auto print = [=](const Config& config) {
    for (const auto& [word, value] : values) {
      if (value == config.*member) return word;
    }
    return std::string();
  };
  return {std::move(name), std::move(accepts), std::move(help), {}, std::move(assign), std::move(print)};
}

}  // namespace tessera
