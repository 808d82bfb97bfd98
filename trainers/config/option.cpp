#include "trainers/config/option.h"

#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "trainers/config/config_text.h"

namespace tessera {
namespace {

template <class Number>
bool parse_number(std::string_view text, Number& value) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  Number parsed{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
  if (error != std::errc() || end != text.data() + text.size()) return false;
  value = parsed;
  return true;
}

std::string describe(Integers range) {
  return fmt::format("an integer from {} to {}", range.low,
                     range.high == kUnbounded ? "1e15" : std::to_string(range.high));
}

std::string describe(Reals range) {
  const std::string low = fmt::format("{} {}", range.open_low ? "above" : "at least", range.low);
  if (std::isinf(range.high)) return "a number, " + low;
  if (!range.open_low && !range.open_high) return fmt::format("a number from {} to {}", range.low, range.high);
  return fmt::format("a number {} and {} {}", low, range.open_high ? "below" : "at most", range.high);
}

bool contains(Reals range, double value) {
  return (range.open_low ? value > range.low : value >= range.low) &&
         (range.open_high ? value < range.high : value <= range.high);
}

}  // namespace

bool parse_integer(std::string_view text, int64_t& value) { return parse_number(text, value); }

bool parse_real(std::string_view text, double& value) {
  double parsed = 0;
  if (!parse_number(text, parsed) || !std::isfinite(parsed)) return false;
  value = parsed;
  return true;
}

namespace {

// `5 * 8`, as nanoGPT's files write it.
bool parse_product(std::string_view text, int64_t& value) {
  if (text.find('*') == text.npos) return parse_integer(text, value);
  value = 1;
  while (true) {
    const size_t star = text.find('*');
    int64_t factor = 0;
    if (!parse_integer(trim(text.substr(0, star)), factor)) return false;
    if (__builtin_mul_overflow(value, factor, &value)) return false;
    if (star == text.npos) return true;
    text.remove_prefix(star + 1);
  }
}

}  // namespace

Option Option::also(std::vector<std::string> names) && {
  synonyms = std::move(names);
  return std::move(*this);
}

Option integer(std::string name, int64_t Config::*member, Integers range, std::string help) {
  auto assign = [=](Config& config, const std::string& text) {
    int64_t value = 0;
    if (!parse_product(text, value) || value < range.low || value > range.high) return false;
    config.*member = value;
    return true;
  };
  auto print = [=](const Config& config) { return fmt::format("{}", config.*member); };
  return {std::move(name), describe(range), std::move(help), {}, assign, print};
}

Option real(std::string name, double Config::*member, Reals range, std::string help) {
  auto assign = [=](Config& config, const std::string& text) {
    double value = 0;
    if (!parse_real(text, value) || !contains(range, value)) return false;
    config.*member = value;
    return true;
  };
  auto print = [=](const Config& config) { return fmt::format("{}", config.*member); };
  return {std::move(name), describe(range), std::move(help), {}, assign, print};
}

Option flag(std::string name, bool Config::*member, std::string help) {
  auto assign = [=](Config& config, const std::string& text) {
    const bool on = text == "True" || text == "true" || text == "1";
    if (!on && text != "False" && text != "false" && text != "0") return false;
    config.*member = on;
    return true;
  };
  auto print = [=](const Config& config) { return std::string(config.*member ? "True" : "False"); };
  return {std::move(name), "True or False", std::move(help), {}, assign, print};
}

Option text(std::string name, std::string Config::*member, std::string accepts, std::string help) {
  return text(
      std::move(name), member, std::move(accepts), [](std::string_view) { return true; }, std::move(help));
}

Option text(std::string name, std::string Config::*member, std::string accepts, bool (*check)(std::string_view),
            std::string help) {
  auto assign = [=](Config& config, const std::string& value) {
    if (!check(value)) return false;
    config.*member = value;
    return true;
  };
  auto print = [=](const Config& config) { return config.*member; };
  return {std::move(name), std::move(accepts), std::move(help), {}, assign, print};
}

}  // namespace tessera
