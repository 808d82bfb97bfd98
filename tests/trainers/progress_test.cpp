#include "trainers/progress.h"

#include <cmath>
#include <cstdlib>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// A console in memory with a clock that the test moves.
class FakeConsole {
 public:
  explicit FakeConsole(bool terminal) : terminal_(terminal), file_(open_memstream(&text_, &size_)) {}
  ~FakeConsole() {
    std::fclose(file_);
    std::free(text_);
  }
  Console console() {
    return {.file = file_,
            .terminal = terminal_,
            .unicode = false,
            .colour = false,
            .columns = [this] { return columns; },
            .seconds = [this] { return now; }};
  }
  std::string text() const {
    std::fflush(file_);
    return {text_, size_};
  }
  /// What a terminal would show: a line is erased where the sequence for it comes.
  std::vector<std::string> screen() const {
    std::vector<std::string> lines = {""};
    const std::string all = text(), erase = "\r\x1b[2K";
    for (size_t i = 0; i < all.size(); ++i) {
      if (all.compare(i, erase.size(), erase) == 0) {
        lines.back().clear();
        i += erase.size() - 1;
      } else if (all[i] == '\n') {
        lines.emplace_back();
      } else {
        lines.back() += all[i];
      }
    }
    return lines;
  }

  int columns = 200;
  double now = 5;

 private:
  bool terminal_;
  char* text_ = nullptr;
  size_t size_ = 0;
  std::FILE* file_;
};

StepReport report_of(int64_t step) {
  return {.step = step,
          .train_loss = 2.40123,
          .learning_rate = 9.8e-4,
          .grad_norm = 1.234,
          .tokens_per_second = 12'340,
          .peak_share = 0.412};
}

TEST(ProgressLine, HasTheFieldsThatPeopleGrepFor) {
  EXPECT_EQ(progress_line(report_of(100), 2000, "1m20s"),
            "step 100/2000 | loss 2.4012 | lr 9.8e-04 | norm 1.23 | 12.3k tok/s | 41% of peak | eta 1m20s");
  StepReport report = report_of(100);
  report.peak_share.reset();
  report.train_loss = NAN;
  report.scale = 32768;
  report.skipped = 2;
  EXPECT_EQ(progress_line(report, 2000, ""),
            "step 100/2000 | loss nan | lr 9.8e-04 | norm 1.23 | 12.3k tok/s | scale 32768 | skipped 2");
}

TEST(ProgressLine, OfSeveralRanksTellsWhatTheyCost) {
  StepReport report = report_of(100);
  report.ranks = 4;
  report.rank_tokens_per_second = 3'080;
  report.communication_share = 0.2;
  report.overlap = 0.75;
  report.scaling_efficiency = 0.95;
  EXPECT_EQ(progress_line(report, 2000, ""),
            "step 100/2000 | loss 2.4012 | lr 9.8e-04 | norm 1.23 | 12.3k tok/s | 41% of peak | 3.08k tok/s per rank | "
            "communication 20% (75% hidden) | scaling 95%");
}

TEST(ProgressBar, FitsEveryWidthAndDropsTheLeastTellingFirst) {
  for (int columns = -1; columns < 220; ++columns) {
    const std::string bar = progress_bar(report_of(100), 2000, "1m20s", columns, false, false);
    EXPECT_LE(static_cast<int>(bar.size()), std::max(columns - 1, 0)) << columns;
  }
  EXPECT_EQ(
      progress_bar(report_of(500), 2000, "9s", 200, false, false),
      " 25% ##########------------------------------ 500/2000 | loss 2.4012 | lr 9.8e-04 | norm 1.23 | 12.3k tok/s | "
      "41% of peak | eta 9s");
  EXPECT_EQ(progress_bar(report_of(1500), 2000, "1m20s", 80, false, false),
            "######-- 1500/2000 loss 2.4012 lr 9.8e-4 norm 1.23 12.3k t/s 41% peak eta 1m20s");
  const std::string narrow = progress_bar(report_of(500), 2000, "9s", 50, false, false);
  EXPECT_THAT(narrow, HasSubstr(" 500/2000 loss 2.4012 12.3k t/s eta 9s"));
  EXPECT_THAT(narrow, Not(HasSubstr("peak")));
  EXPECT_THAT(progress_bar(report_of(500), 2000, "9s", 80, true, true), HasSubstr("\x1b[36m━"));
}

TEST(Progress, PlainLinesComeWhereOneIsDue) {
  FakeConsole fake(false);
  {
    Progress progress({.total_steps = 25, .first_step = 5}, fake.console());
    for (int64_t step = 6; step <= 25; ++step) {
      fake.now += 2;
      progress.step(report_of(step), step % 10 == 0 || step == 25);
    }
  }
  EXPECT_THAT(fake.screen(), ElementsAre(HasSubstr("step 10/25 | loss 2.4012"), HasSubstr("step 20/25 |"),
                                         HasSubstr("step 25/25 |"), ""));
  EXPECT_THAT(fake.screen()[0], HasSubstr("| eta 30s"));  // 15 steps of 2 seconds
  EXPECT_THAT(fake.screen()[2], Not(HasSubstr("eta")));
  EXPECT_THAT(fake.text(), Not(HasSubstr("\x1b")));
}

TEST(Progress, OnATerminalOneLineIsRedrawnAndOthersStayAbove) {
  FakeConsole fake(true);
  {
    Progress progress({.total_steps = 100}, fake.console());
    for (int64_t step = 1; step <= 50; ++step) progress.step(report_of(step), false);
    EXPECT_THAT(fake.screen(), ElementsAre(HasSubstr(" 1/100 |")));  // no time went by
    fake.now += 0.2;
    progress.step(report_of(51), false);
    EXPECT_THAT(fake.screen(), ElementsAre(HasSubstr(" 51/100 |")));
    StepReport report = report_of(51);
    report.eval_train_loss = 1.544;
    report.val_loss = 1.722;
    report.val_accuracy = 0.5;
    progress.evaluation(report);
    progress.line("saved");
    EXPECT_THAT(fake.screen(), ElementsAre("step 51: train loss 1.5440, val loss 1.7220, exact match 50.0%", "saved",
                                           HasSubstr(" 51/100 |")));
    progress.step(report_of(52), false);
  }
  EXPECT_THAT(fake.screen(), ElementsAre(HasSubstr("step 51:"), "saved", HasSubstr(" 52/100 |"), ""));
}

TEST(Progress, RedrawsAtMostTenTimesPerSecond) {
  FakeConsole fake(true);
  Progress progress({.total_steps = 10'000}, fake.console());
  for (int64_t step = 1; step < 1000; ++step) {
    fake.now += 0.001;
    progress.step(report_of(step), false);
  }
  size_t drawings = 0;
  const std::string text = fake.text();
  for (size_t at = text.find('\r'); at != text.npos; at = text.find('\r', at + 1)) ++drawings;
  EXPECT_GE(drawings, 9U);
  EXPECT_LE(drawings, 11U);
}

TEST(Progress, AConsoleThatTakesNothingStopsNoTraining) {
  FakeConsole fake(true);
  Console console = fake.console();
  console.file = std::fopen("/dev/full", "w");
  {
    Progress progress({.total_steps = 10}, console);
    EXPECT_NO_THROW(progress.step({.step = 1}, true));
    EXPECT_NO_THROW(progress.evaluation({.step = 1, .val_loss = 2}));
  }
  std::fclose(console.file);
}

}  // namespace
}  // namespace tessera
