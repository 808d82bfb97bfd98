#include "trainers/human.h"

#include <array>
#include <cmath>

#include <fmt/format.h>

namespace tessera {
namespace {

/// `value` with at most three significant digits and no exponent; below 1000.
std::string three_digits(double value) {
  const int decimals = value >= 99.95 || value == std::floor(value) ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}", value, decimals);
}

}  // namespace

std::string human_count(double value) {
  if (!std::isfinite(value)) return human_real(value, 0);
  if (value < 0) return fmt::format("-{}", human_count(-value));
  constexpr std::array kUnits = {"", "k", "M", "G", "T", "P"};
  size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  return three_digits(value) + kUnits[unit];
}

std::string human_real(double value, int decimals) {
  return std::isnan(value) ? "nan" : fmt::format("{:.{}f}", value, decimals);
}

std::string human_loss(double value) {
  const bool small = value != 0 && std::abs(value) < 1e-3, large = std::isfinite(value) && std::abs(value) >= 1e7;
  return small || large ? fmt::format("{:.1e}", value) : human_real(value, 4);
}

std::string human_integer(int64_t value) {
  const std::string digits = fmt::format("{}", value);
  std::string spaced;
  for (size_t i = 0; i < digits.size(); ++i) {
    const bool starts_thousand = (digits.size() - i) % 3 == 0 && i > (value < 0 ? 1 : 0);
    if (starts_thousand) spaced.push_back(',');
    spaced.push_back(digits[i]);
  }
  return spaced;
}

std::string human_duration(double seconds) {
  constexpr int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;
  if (!(seconds >= 0) || seconds > 1e12) return "?";
  if (seconds < 9.95) return fmt::format("{:.1f}s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < kMinute) return fmt::format("{}s", whole);
  if (whole < kHour) return fmt::format("{}m{:02}s", whole / kMinute, whole % kMinute);
  if (whole < kDay) return fmt::format("{}h{:02}m", whole / kHour, whole % kHour / kMinute);
  return fmt::format("{}d{:02}h", whole / kDay, whole % kDay / kHour);
}

std::string human_bytes(int64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1023.5 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, unit == 0 || value >= 99.95 ? 0 : 1, kUnits[unit]);
}

}  // namespace tessera
