// What a training shows while it runs. On a terminal one line, redrawn in place, with other lines scrolling above it;
// anywhere else a plain line per report.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

#include "trainers/report.h"

namespace tessera {

/// Where progress is shown, and what that place can do.
struct Console {
  std::FILE* file = stdout;
  bool terminal = false;            ///< lines can be redrawn
  bool unicode = false;             ///< thin bars instead of # and -
  bool colour = false;              ///< the bar is coloured
  std::function<int()> columns;     ///< the width, asked for at every drawing
  std::function<double()> seconds;  ///< a clock that never goes back

  /// The program's standard output. `TERM=dumb` makes it no terminal, `NO_COLOR` removes the colours.
  static Console standard_output();
};

class Progress {
 public:
  struct Options {
    int64_t total_steps = 0;
    int64_t first_step = 0;  ///< steps done before this process
  };

  explicit Progress(Options options, Console console = Console::standard_output());
  /// Ends the line that is being redrawn.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Call for every step. Redraws at most ten times per second and at the last step, or prints a line if one is `due`.
  void step(const StepReport& report, bool due);
  /// Prints `step 250: train loss 1.5440, val loss 1.7220`, which stays.
  void evaluation(const StepReport& report);
  /// Prints a line that stays.
  void line(std::string_view text);
  /// Ends the line that is being redrawn; nothing more is drawn until the next step.
  void finish();

 private:
  std::string eta() const;
  void draw();
  void erase();

  Options options_;
  Console console_;
  double started_;
  double drawn_ = -1;
  bool on_screen_ = false;
  StepReport last_;
};

/// `step 100/2000 | loss 2.4012 | lr 9.8e-04 | norm 1.23 | 12.3k tok/s | 41% of peak | eta 1m20s`, with the loss scale
/// where it is not 1 and the skipped steps where there are some.
std::string progress_line(const StepReport& report, int64_t total_steps, const std::string& eta);

/// The same in at most `columns` columns, as a bar and as many of the numbers as fit, the most telling first.
std::string progress_bar(const StepReport& report, int64_t total_steps, const std::string& eta, int columns,
                         bool unicode, bool colour);

}  // namespace tessera
