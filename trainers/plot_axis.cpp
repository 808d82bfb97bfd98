#include "trainers/plot_axis.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include <fmt/format.h>

#include "trainers/human.h"

namespace tessera {
namespace {

/// The smallest of 1, 2, 5 times a power of ten that is at least `value`.
double round_up(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double digit : {1.0, 2.0, 5.0}) {
    if (digit * power >= value * (1 - 1e-9)) return digit * power;
  }
  return 10 * power;
}

/// As many decimals as tell neighbours `step` apart.
std::string label_of(double value, double step) {
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  return decimals > 6 ? fmt::format("{:.1e}", value) : fmt::format("{:.{}f}", value, decimals);
}

}  // namespace

double PlotAxis::position(double value) const {
  if (logarithmic) return std::log(value / low) / std::log(high / low);
  return (value - low) / (high - low);
}

PlotAxis linear_axis(double low, double high, int count, double smallest_step) {
  const double resolution = 1e-9 * std::max(std::abs(low), std::abs(high));  // ticks closer than that are one number
  if (!(high - low > resolution)) {
    const double margin = std::max(std::abs(low) * 0.05, 1e-3);
    low -= margin;
    high += margin;
  }
  PlotAxis axis{.low = low, .high = high, .logarithmic = false, .ticks = {}};
  const double step = round_up(std::max((high - low) / count, smallest_step));
  const double slack = 1e-9 * step;
  for (double index = std::ceil((low - slack) / step); index * step <= high + slack; ++index) {
    const double value = index == 0 ? 0 : index * step;
    axis.ticks.push_back({value, label_of(value, step)});
  }
  return axis;
}

PlotAxis logarithmic_axis(double low, double high, int count) {
  if (!(high > low * 1.01)) {
    low *= 0.9;
    high *= 1.1;
  }
  PlotAxis axis{.low = low, .high = high, .logarithmic = true, .ticks = {}};
  const double decades = std::log10(high / low);
  const int every = std::max(1, static_cast<int>(std::ceil(decades / count)));
  for (int power = static_cast<int>(std::floor(std::log10(low))); std::pow(10.0, power) <= high; ++power) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      if (digit > 1 ? 3 * decades > 1.5 * count : power % every != 0) continue;
      const double value = digit * std::pow(10.0, power);
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9))
        axis.ticks.push_back(
            {value, std::abs(power) > 4 ? fmt::format("{:.0e}", value) : fmt::format("{:.6g}", value)});
    }
  }
  return axis;
}

std::string step_label(double value) {
  if (std::abs(value) < 9999.5) return human_integer(std::llround(value));
  constexpr std::array kUnits = {"", "k", "M", "G", "T", "P"};
  size_t unit = 0;
  for (; std::abs(value) >= 999.95 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  return fmt::format("{:.4g}{}", value, kUnits[unit]);
}

}  // namespace tessera
