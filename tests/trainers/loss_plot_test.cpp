#include "trainers/loss_plot.h"

#include <cmath>
#include <sstream>
#include <vector>

#include <boost/property_tree/xml_parser.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<StepReport> falling(int64_t steps, double first, double last, int64_t eval_interval) {
  std::vector<StepReport> reports;
  for (int64_t step = 1; step <= steps; ++step) {
    const double done = static_cast<double>(step) / static_cast<double>(steps);
    reports.push_back({.step = step, .train_loss = first * std::pow(last / first, done)});
    if (step % eval_interval == 0) reports.back().val_loss = reports.back().train_loss + std::abs(done - 0.75);
  }
  return reports;
}

/// The plot, after an XML parser accepted it.
std::string checked_plot(const std::vector<StepReport>& reports, const std::string& title) {
  const std::string svg = loss_plot(reports, title);
  std::istringstream stream(svg);
  boost::property_tree::ptree tree;
  EXPECT_NO_THROW(boost::property_tree::read_xml(stream, tree)) << svg;
  EXPECT_EQ(tree.count("svg"), 1U);
  EXPECT_THAT(svg, AllOf(Not(HasSubstr("nan")), Not(HasSubstr("inf,")), Not(HasSubstr("\"inf"))));
  return svg;
}

size_t count_of(const std::string& text, const std::string& piece) {
  size_t count = 0;
  for (size_t at = text.find(piece); at != text.npos; at = text.find(piece, at + 1)) ++count;
  return count;
}

TEST(LossPlot, ShowsBothCurvesAndTheBestEvaluation) {
  const std::string svg = checked_plot(falling(400, 4, 1.5, 100), "run");
  EXPECT_EQ(count_of(svg, "<polyline class=\"train\""), 1U);
  EXPECT_EQ(count_of(svg, "<polyline class=\"validation\""), 1U);
  EXPECT_EQ(count_of(svg, "<circle class=\"validation-dot\""), 4U);
  EXPECT_THAT(svg, AllOf(HasSubstr("training <tspan class=\"value\">1.5"), HasSubstr("at step 400"),
                         HasSubstr("validation <tspan class=\"value\">1.7500"), HasSubstr(">3.5</text>"),
                         HasSubstr("prefers-color-scheme: dark")));
}

TEST(LossPlot, TakesALogarithmWhereTheLossFallsFar) {
  EXPECT_THAT(checked_plot(falling(400, 4, 0.004, 100), "run"),
              AllOf(HasSubstr(">0.1</text>"), HasSubstr(">0.01</text>")));
}

TEST(LossPlot, StaysSmallForLongRuns) {
  const std::string svg = checked_plot(falling(100'000, 4, 1.5, 100), "run");
  EXPECT_LT(svg.size(), 60'000U);
  EXPECT_EQ(count_of(svg, "<polygon class=\"spread\""), 1U);
  EXPECT_EQ(count_of(svg, "<circle class=\"validation-dot\""), 0U);
}

TEST(LossPlot, TakesWhateverARunReports) {
  EXPECT_THAT(checked_plot({}, "run"), HasSubstr("no step has been reported yet"));
  EXPECT_THAT(checked_plot({{.step = 1, .train_loss = NAN}}, "run"), HasSubstr("no step has been reported yet"));
  EXPECT_THAT(checked_plot({{.step = 1, .train_loss = 3}}, "run"), HasSubstr("<circle class=\"train-dot\""));
  checked_plot({{.step = 1, .train_loss = 0, .val_loss = 0}}, "run");
  checked_plot({{.step = 5, .val_loss = 2}}, "run");
  checked_plot({{.step = 1, .train_loss = -3}, {.step = 2, .train_loss = INFINITY}, {.step = 3, .train_loss = 1e30}},
               "run");
  checked_plot({{.step = 1, .train_loss = 3}, {.step = 2, .train_loss = 3}}, "run");
}

TEST(LossPlot, EscapesTheTitle) {
  EXPECT_THAT(checked_plot({}, "a<b> & \"c\" ü\n\xFF\xC3"), HasSubstr("a&lt;b&gt; &amp; \"c\" ü?��"));
}

TEST(LossPlot, IsWritten) {
  const TemporaryFolder folder;
  const auto reports = falling(10, 4, 2, 5);
  write_loss_plot(folder / "loss.svg", reports, "run");
  EXPECT_EQ(read_all(folder / "loss.svg"), loss_plot(reports, "run"));
}

}  // namespace
}  // namespace tessera
