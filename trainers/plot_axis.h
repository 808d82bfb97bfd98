// An axis of a plot: where a value lies between its ends, and at which round numbers it is marked.
#pragma once

#include <string>
#include <vector>

namespace tessera {

struct PlotAxis {
  struct Tick {
    double value;
    std::string label;
  };

  double low = 0;
  double high = 1;
  bool logarithmic = false;
  std::vector<Tick> ticks;

  /// 0 at `low`, 1 at `high`; beyond them outside that range.
  double position(double value) const;
};

/// An axis over [low, high], widened a little where the ends are equal, with about `count` ticks at multiples of
/// 1, 2 or 5 times a power of ten, at least `smallest_step` apart. Ticks lie inside; the ends stay as given.
PlotAxis linear_axis(double low, double high, int count, double smallest_step = 0);

/// The same with equal distances for equal ratios, and ticks at 1, 2 and 5 (or only 1) times powers of ten; `low` must
/// be above 0.
PlotAxis logarithmic_axis(double low, double high, int count);

/// 0, 500, 1,500, 20k, 1.5M: a count as a label.
std::string step_label(double value);

}  // namespace tessera
