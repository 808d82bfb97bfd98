#include "trainers/loss_curve.h"

#include <algorithm>
#include <cmath>

namespace tessera {

namespace {

CurveBin bin_of(std::span<const CurvePoint> points) {
  constexpr size_t kTwentieth = 20;
  CurveBin bin{.x = 0, .y = 0, .low = 0, .high = 0, .count = points.size()};
  std::vector<double> sorted;
  for (const CurvePoint& point : points) {
    bin.x += point.x / static_cast<double>(points.size());
    bin.y += point.y / static_cast<double>(points.size());
    sorted.push_back(point.y);
  }
  std::ranges::sort(sorted);
  bin.low = sorted[sorted.size() / kTwentieth];
  bin.high = sorted[sorted.size() - 1 - sorted.size() / kTwentieth];
  return bin;
}

/// The value at `i` of the straight line that fits the bins around it best, weighted by a bell.
double fitted(std::span<const CurveBin> bins, size_t i, double sigma) {
  const auto reach = static_cast<size_t>(std::ceil(3 * sigma));
  const size_t begin = i - std::min(i, reach), end = std::min(bins.size(), i + reach + 1);
  double weights = 0, moment = 0, square = 0, sum = 0, product = 0;
  for (size_t j = begin; j < end; ++j) {
    const double offset = static_cast<double>(j) - static_cast<double>(i);
    const double weight = sigma > 0 ? std::exp(-0.5 * offset * offset / (sigma * sigma)) : 1;
    weights += weight;
    moment += weight * offset;
    square += weight * offset * offset;
    sum += weight * bins[j].y;
    product += weight * offset * bins[j].y;
  }
  const double determinant = weights * square - moment * moment;
  return determinant > 1e-9 * weights * weights ? (square * sum - moment * product) / determinant : sum / weights;
}

}  // namespace

std::vector<CurveBin> gather(std::span<const CurvePoint> points, size_t most) {
  std::vector<CurvePoint> finite;
  for (const CurvePoint& point : points) {
    if (std::isfinite(point.x) && std::isfinite(point.y)) finite.push_back(point);
  }
  const size_t count = std::min(most, finite.size());
  std::vector<CurveBin> bins;
  for (size_t bin = 0; bin < count; ++bin) {
    const size_t begin = bin * finite.size() / count, end = (bin + 1) * finite.size() / count;
    bins.push_back(bin_of(std::span(finite).subspan(begin, end - begin)));
  }
  return bins;
}

std::vector<CurvePoint> smooth(std::span<const CurveBin> bins, double width) {
  std::vector<CurvePoint> line;
  for (size_t i = 0; i < bins.size(); ++i)
    line.push_back({bins[i].x, fitted(bins, i, std::min(width, static_cast<double>(i) / 2))});
  return line;
}

}  // namespace tessera
