#include "trainers/progress.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "trainers/human.h"

namespace tessera {
namespace {

constexpr double kSecondsBetweenDrawings = 0.1;
constexpr const char* kEraseLine = "\r\x1b[2K";

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value && *value;
}

/// The first variable that is set decides the character set, as for every program.
bool speaks_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    if (!is_set(name)) continue;
    const std::string_view value = std::getenv(name);
    return value.find("UTF-8") != value.npos || value.find("utf8") != value.npos || value.find("UTF8") != value.npos;
  }
  return false;
}

int terminal_columns() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// One part of the line; parts with the highest rank are left out first where they do not fit.
struct Part {
  std::string text;
  int rank;
  std::string brief = text;  ///< for narrow terminals
};

/// 9.8e-4 instead of 9.8e-04.
std::string without_leading_zero(std::string number) {
  const size_t exponent = number.find("e-0");
  return exponent == number.npos ? number : number.erase(exponent + 2, 1);
}

std::vector<Part> parts_of(const StepReport& report, const std::string& eta) {
  const std::string rate = fmt::format("lr {:.1e}", report.learning_rate);
  const std::string speed = human_count(report.tokens_per_second);
  std::vector<Part> parts = {{"loss " + human_loss(report.train_loss), 1},
                             {rate, 5, without_leading_zero(rate)},
                             {"norm " + human_real(report.grad_norm, 2), 4},
                             {speed + " tok/s", 3, speed + " t/s"}};
  if (report.peak_share) {
    const std::string share = fmt::format("{:.0f}%", 100 * *report.peak_share);
    parts.push_back({share + " of peak", 6, share + " peak"});
  }
  if (report.rank_tokens_per_second) {
    parts.push_back({fmt::format("{} tok/s per rank", human_count(*report.rank_tokens_per_second)), 9});
  }
  if (report.communication_share) {
    parts.push_back({fmt::format("communication {:.0f}% ({:.0f}% hidden)", 100 * *report.communication_share,
                                 100 * report.overlap.value_or(0)),
                     10});
  }
  if (report.scaling_efficiency) {
    parts.push_back({fmt::format("scaling {:.0f}%", 100 * *report.scaling_efficiency), 11});
  }
  if (report.scale != 1) parts.push_back({fmt::format("scale {}", report.scale), 8});
  if (report.skipped > 0) parts.push_back({fmt::format("skipped {}", report.skipped), 7});
  if (!eta.empty()) parts.push_back({"eta " + eta, 2});
  return parts;
}

std::string joined(const std::vector<Part>& parts) {
  std::string text;
  for (const Part& part : parts) text += " | " + part.text;
  return text;
}

std::string joined_briefly(const std::vector<Part>& parts) {
  std::string text;
  for (const Part& part : parts) text += " " + part.brief;
  return text;
}

std::string bar(double share, size_t width, bool unicode, bool colour) {
  const auto done = std::min(width, static_cast<size_t>(share * static_cast<double>(width)));
  std::string filled, rest;
  for (size_t i = 0; i < width; ++i) (i < done ? filled : rest) += unicode ? "━" : i < done ? "#" : "-";
  if (colour) return fmt::format("\x1b[36m{}\x1b[90m{}\x1b[0m", filled, rest);
  if (unicode) return filled + std::string(width - done, ' ');
  return filled + rest;
}

// A console that is gone, or a log on a full disk, is no reason to stop a training.
void put(std::FILE* file, const std::string& text) {
  std::fputs(text.c_str(), file);
  std::fflush(file);
}

}  // namespace

Console Console::standard_output() {
  const char* terminal_type = std::getenv("TERM");
  const bool terminal = isatty(STDOUT_FILENO) && terminal_type && std::string_view(terminal_type) != "dumb";
  const auto start = std::chrono::steady_clock::now();
  return {
      .file = stdout,
      .terminal = terminal,
      .unicode = speaks_utf8(),
      .colour = !is_set("NO_COLOR"),
      .columns = terminal_columns,
      .seconds = [start] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }};
}

std::string progress_line(const StepReport& report, int64_t total_steps, const std::string& eta) {
  return fmt::format("step {}/{}{}", report.step, total_steps, joined(parts_of(report, eta)));
}

std::string progress_bar(const StepReport& report, int64_t total_steps, const std::string& eta, int columns,
                         bool unicode, bool colour) {
  constexpr size_t kShortestBar = 8, kNarrowBar = 4, kLongestBar = 40;
  const auto room = static_cast<size_t>(std::max(columns - 1, 0));  // the last column would wrap on some terminals
  const double share = static_cast<double>(report.step) / static_cast<double>(std::max<int64_t>(total_steps, 1));
  const std::string percentage = fmt::format("{:3.0f}% ", std::min(100.0, 100 * share));
  const std::string count = fmt::format("{}/{}", report.step, total_steps);
  std::vector<Part> parts = parts_of(report, eta);
  const std::string all = " " + count + joined(parts);
  if (const size_t used = percentage.size() + all.size(); used + kShortestBar <= room) {
    return percentage + bar(share, std::min(room - used, kLongestBar), unicode, colour) + all;
  }
  // What does not fit is said briefly, without the percentage, and then left out.
  const size_t beside = kNarrowBar + 1 + count.size();
  while (!parts.empty() && beside + joined_briefly(parts).size() > room)
    parts.erase(std::ranges::max_element(parts, {}, &Part::rank));
  if (beside > room) return count.substr(0, room);
  const std::string rest = " " + count + joined_briefly(parts);
  return bar(share, std::min(room - rest.size(), kLongestBar), unicode, colour) + rest;
}

Progress::Progress(Options options, Console console)
    : options_(options), console_(std::move(console)), started_(console_.seconds()) {
  last_.step = options_.first_step;
}

Progress::~Progress() { finish(); }

void Progress::step(const StepReport& report, bool due) {
  last_ = report;
  if (console_.terminal) {
    const bool is_last = report.step >= options_.total_steps;
    if (is_last || drawn_ < 0 || console_.seconds() - drawn_ >= kSecondsBetweenDrawings) draw();
  } else if (due) {
    put(console_.file, progress_line(report, options_.total_steps, eta()) + "\n");
  }
}

void Progress::evaluation(const StepReport& report) {
  std::string text = fmt::format("step {}:", report.step);
  const char* separator = " ";
  const auto add = [&](const std::string& part) { text += std::exchange(separator, ", ") + part; };
  if (report.eval_train_loss) add("train loss " + human_loss(*report.eval_train_loss));
  if (report.val_loss) add("val loss " + human_loss(*report.val_loss));
  if (report.val_accuracy) add(fmt::format("exact match {:.1f}%", 100 * *report.val_accuracy));
  line(text);
}

void Progress::line(std::string_view text) {
  const bool redraw = on_screen_;
  erase();
  put(console_.file, std::string(text) + "\n");
  if (redraw) draw();
}

void Progress::finish() {
  if (!on_screen_) return;
  draw();
  put(console_.file, "\n");
  on_screen_ = false;
}

std::string Progress::eta() const {
  const int64_t done = last_.step - options_.first_step, left = options_.total_steps - last_.step;
  if (done <= 0 || left <= 0) return "";
  return human_duration((console_.seconds() - started_) / static_cast<double>(done) * static_cast<double>(left));
}

void Progress::draw() {
  put(console_.file, kEraseLine + progress_bar(last_, options_.total_steps, eta(), console_.columns(), console_.unicode,
                                               console_.colour));
  drawn_ = console_.seconds();
  on_screen_ = true;
}

void Progress::erase() {
  if (on_screen_) put(console_.file, kEraseLine);
  on_screen_ = false;
}

}  // namespace tessera
