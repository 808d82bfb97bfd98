// metrics.jsonl: one strict JSON object per report and line. A number that is not finite is null, one that was not
// measured is absent. A line is on its way to the disk when `append` returns.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/io/file.h"
#include "trainers/report.h"

namespace tessera {

/// Appends reports to a file, which it creates. Every error is one sentence with the path and the cause.
class MetricsWriter {
 public:
  explicit MetricsWriter(std::filesystem::path path) : file_(std::move(path)) {}

  void append(const StepReport& report);

 private:
  AppendFile file_;
};

/// The report as one line of JSON, without its line end.
std::string metrics_line(const StepReport& report);

/// The report in a line; null becomes NaN, and names that no report has are passed over. `place` opens the message of
/// the Error for a line that is no report.
StepReport parse_metrics_line(std::string_view line, const std::string& place);

/// The reports of a file, in order; none where it is missing. A last line without its end was cut off and is left out.
std::vector<StepReport> read_metrics(const std::filesystem::path& path);

/// Removes the reports of steps after `step` and lines that are no reports (a killed run may leave half a line), so
/// that a resumed run appends where its checkpoint was made. Returns a sentence about the latter, empty where there
/// were none. The file is replaced as a whole, or not at all.
std::string drop_metrics_after(const std::filesystem::path& path, int64_t step);

}  // namespace tessera
