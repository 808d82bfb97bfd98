#include "trainers/loss_plot.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "framework/data/utf8.h"
#include "framework/io/atomic_file.h"
#include "trainers/human.h"
#include "trainers/loss_curve.h"
#include "trainers/plot_axis.h"

namespace tessera {
namespace {

// The page and the frame of the curves in it, in pixels from the top left.
constexpr double kWidth = 960, kHeight = 540, kLeft = 76, kRight = 924, kTop = 104, kBottom = 484;
constexpr size_t kMostBins = 424;  // one per two pixels
constexpr size_t kMostMarkers = 40;
constexpr double kRatioForLogarithm = 12;

constexpr const char* kStyle = R"(<style>
text { font-family: Inter, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; font-size: 14px; fill: #57606a; }
.page { fill: #ffffff; }
.title { font-size: 21px; font-weight: 600; fill: #1f2328; }
.value { font-weight: 600; fill: #1f2328; }
.grid { stroke: #eaeef2; stroke-width: 1; }
.frame { stroke: #afb8c1; stroke-width: 1; }
.train { stroke: #2f6fde; fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
.raw { stroke: #2f6fde; fill: none; stroke-width: 1; stroke-opacity: 0.35; stroke-linejoin: round; }
.spread { fill: #2f6fde; fill-opacity: 0.16; }
.train-dot { fill: #2f6fde; }
.validation { stroke: #d9590b; fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
.validation-dot { fill: #d9590b; stroke: #ffffff; stroke-width: 1.5; }
.best { fill: none; stroke: #d9590b; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
text { fill: #9198a1; }
.page { fill: #0d1117; }
.title, .value { fill: #f0f6fc; }
.grid { stroke: #21262d; }
.frame { stroke: #3d444d; }
.train, .raw { stroke: #6ea8fe; }
.spread, .train-dot { fill: #6ea8fe; }
.validation, .best { stroke: #ffa657; }
.validation-dot { fill: #ffa657; stroke: #0d1117; }
}
</style>
)";

/// What is drawn: the spread of the training loss, the line through it, and the validation loss.
struct Curves {
  std::vector<CurveBin> bins;
  std::vector<CurvePoint> train, validation;

  bool empty() const { return train.empty() && validation.empty(); }
};

Curves curves_of(std::span<const StepReport> reports) {
  std::vector<CurvePoint> train;
  Curves curves;
  for (const StepReport& report : reports) {
    const auto step = static_cast<double>(report.step);
    train.push_back({step, report.train_loss});
    if (report.val_loss && std::isfinite(*report.val_loss)) curves.validation.push_back({step, *report.val_loss});
  }
  curves.bins = gather(train, kMostBins);
  curves.train = smooth(curves.bins, static_cast<double>(curves.bins.size()) / 100);
  return curves;
}

CurvePoint best_of(const Curves& curves) { return *std::ranges::min_element(curves.validation, {}, &CurvePoint::y); }

struct Frame {
  PlotAxis x, y;

  double across(double step) const { return kLeft + x.position(step) * (kRight - kLeft); }
  double down(double loss) const { return kBottom - y.position(loss) * (kBottom - kTop); }
  CurvePoint place(CurvePoint point) const { return {across(point.x), down(point.y)}; }
};

Frame frame_of(const Curves& curves) {
  double last = 1, low = INFINITY, high = -INFINITY, smallest = INFINITY;
  const auto include = [&](double step, double loss) {
    last = std::max(last, step);
    low = std::min(low, loss);
    high = std::max(high, loss);
  };
  for (const CurvePoint& point : curves.train) include(point.x, point.y);
  for (const CurvePoint& point : curves.validation) include(point.x, point.y);
  smallest = low;
  for (const CurveBin& bin : curves.bins) low = std::min(low, bin.low);
  constexpr int kStepTicks = 8, kLossTicks = 6;
  const PlotAxis steps = linear_axis(0, last, kStepTicks, 1);
  if (low > 0 && high / smallest > kRatioForLogarithm) {
    const double margin = std::pow(high / low, 0.05);
    return {steps, logarithmic_axis(low / margin, high * margin, kLossTicks)};
  }
  const double margin = 0.05 * (high - low);
  return {steps, linear_axis(low >= 0 ? std::max(low - margin, 0.0) : low - margin, high + margin, kLossTicks)};
}

/// A polyline or polygon through the points.
std::string draw_line(const char* shape, const char* kind, const Frame& frame, std::span<const CurvePoint> line) {
  std::string points;
  for (const CurvePoint& point : line) {
    const CurvePoint place = frame.place(point);
    fmt::format_to(std::back_inserter(points), "{:.1f},{:.1f} ", place.x, place.y);
  }
  return fmt::format("<{} class=\"{}\" points=\"{}\"/>\n", shape, kind, points);
}

std::string draw_grid(const Frame& frame) {
  std::string svg;
  const auto out = std::back_inserter(svg);
  for (const PlotAxis::Tick& tick : frame.y.ticks) {
    const double y = frame.down(tick.value);
    fmt::format_to(out, "<line class=\"grid\" x1=\"{}\" y1=\"{:.1f}\" x2=\"{}\" y2=\"{:.1f}\"/>", kLeft, y, kRight, y);
    fmt::format_to(out, "<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", kLeft - 12, y + 5, tick.label);
  }
  for (const PlotAxis::Tick& tick : frame.x.ticks) {
    const double x = frame.across(tick.value);
    fmt::format_to(out, "<line class=\"frame\" x1=\"{:.1f}\" y1=\"{}\" x2=\"{:.1f}\" y2=\"{}\"/>", x, kBottom, x,
                   kBottom + 5);
    fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", x, kBottom + 22,
                   step_label(tick.value));
  }
  fmt::format_to(out, "<line class=\"frame\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n", kLeft, kBottom, kRight,
                 kBottom);
  fmt::format_to(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">step</text>\n", (kLeft + kRight) / 2,
                 kBottom + 44);
  fmt::format_to(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">loss</text>\n", kLeft - 12, kTop - 14);
  return svg;
}

/// How the training loss scatters around its line: each value where few share a place, else a band.
std::string draw_scatter(const Frame& frame, const std::vector<CurveBin>& bins) {
  constexpr size_t kFew = 2;
  std::vector<CurvePoint> line, back;
  if (bins.back().count <= kFew) {
    for (const CurveBin& bin : bins) {
      line.push_back({bin.x, bin.low});
      if (bin.high > bin.low) line.push_back({bin.x, bin.high});
    }
    return draw_line("polyline", "raw", frame, line);
  }
  for (const CurveBin& bin : bins) line.push_back({bin.x, bin.low});
  for (size_t i = bins.size(); i-- > 0;) line.push_back({bins[i].x, bins[i].high});
  return draw_line("polygon", "spread", frame, line);
}

std::string draw_dot(const char* kind, const Frame& frame, CurvePoint point, double radius) {
  const CurvePoint dot = frame.place(point);
  return fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"/>\n", kind, dot.x, dot.y, radius);
}

std::string draw_curves(const Frame& frame, const Curves& curves) {
  std::string svg =
      fmt::format("<clipPath id=\"inside\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>\n", kLeft,
                  kTop - 8, kRight - kLeft + 8, kBottom - kTop + 8);
  if (curves.train.size() == 1) svg += draw_dot("train-dot", frame, curves.train.front(), 4);
  if (curves.train.size() > 1)
    svg += "<g clip-path=\"url(#inside)\">\n" + draw_scatter(frame, curves.bins) +
           draw_line("polyline", "train", frame, curves.train) + "</g>\n";
  if (curves.validation.empty()) return svg;
  svg += draw_line("polyline", "validation", frame, curves.validation);
  if (curves.validation.size() <= kMostMarkers) {
    for (const CurvePoint& point : curves.validation) svg += draw_dot("validation-dot", frame, point, 4);
  }
  return svg + draw_dot("best", frame, best_of(curves), 7.5);
}

/// A sample of each line with its last value, and the best evaluation.
std::string draw_legend(const Curves& curves) {
  constexpr double kBaseline = 70, kSample = 22, kEntry = 190;
  std::string svg;
  double x = kLeft;
  const auto entry = [&](const std::string& sample, const std::string& text) {
    svg += sample + fmt::format("<text x=\"{}\" y=\"{}\">{}</text>\n", x + kSample + 8, kBaseline, text);
    x += kEntry;
  };
  const auto line = [&](const char* kind) {
    constexpr double kMiddle = kBaseline - 5;
    return fmt::format("<line class=\"{}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>", kind, x, kMiddle, x + kSample,
                       kMiddle);
  };
  const auto value = [](double loss) { return fmt::format("<tspan class=\"value\">{}</tspan>", human_loss(loss)); };
  if (!curves.train.empty()) entry(line("train"), "training " + value(curves.train.back().y));
  if (curves.validation.empty()) return svg;
  entry(line("validation"), "validation " + value(curves.validation.back().y));
  const CurvePoint best = best_of(curves);
  const std::string ring = fmt::format("<circle class=\"best\" cx=\"{}\" cy=\"{}\" r=\"6\"/>", x + 14, kBaseline - 5);
  entry(ring, fmt::format("best {} at step {}", value(best.y), step_label(best.x)));
  return svg;
}

/// The text as XML holds it: reserved characters by name, control characters as `?`, bytes that are no UTF-8 as U+FFFD.
std::string escape(std::string_view text) {
  std::string escaped;
  for (const char c : repaired(text)) {
    switch (c) {
      case '&': escaped += "&amp;"; break;
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      default: escaped += static_cast<unsigned char>(c) < ' ' ? '?' : c;
    }
  }
  return escaped;
}

}  // namespace

std::string loss_plot(std::span<const StepReport> reports, const std::string& title) {
  const Curves curves = curves_of(reports);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\">\n"
      "<title>{2}: loss</title>\n{3}<rect class=\"page\" width=\"{0}\" height=\"{1}\" rx=\"8\"/>\n"
      "<text class=\"title\" x=\"{4}\" y=\"42\">{2}</text>\n",
      kWidth, kHeight, escape(title), kStyle, kLeft);
  if (curves.empty())
    return svg + fmt::format("<text x=\"{}\" y=\"70\">no step has been reported yet</text>\n</svg>\n", kLeft);
  const Frame frame = frame_of(curves);
  return svg + draw_legend(curves) + draw_grid(frame) + draw_curves(frame, curves) + "</svg>\n";
}

void write_loss_plot(const std::filesystem::path& path, std::span<const StepReport> reports, const std::string& title) {
  write_file(path, loss_plot(reports, title));
}

}  // namespace tessera
