// A curve of many points made readable: at most a few hundred places, the spread at each, and a smooth line through
// them.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace tessera {

struct CurvePoint {
  double x, y;
};

/// Neighbouring points of a curve gathered in one place.
struct CurveBin {
  double x, y;       ///< means
  double low, high;  ///< of y, without the extreme twentieth at each end
  size_t count;
};

/// At most `most` bins of equally many points, in order; points that are not finite are left out.
std::vector<CurveBin> gather(std::span<const CurvePoint> points, size_t most);

/// A line through the bins' means: at each a straight fit under a bell whose standard deviation is `width` bins, less
/// near the beginning, where a loss falls too steeply to be averaged.
std::vector<CurvePoint> smooth(std::span<const CurveBin> bins, double width);

}  // namespace tessera
