#include "trainers/metrics.h"

#include <algorithm>
#include <type_traits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "framework/error.h"
#include "framework/io/atomic_file.h"
#include "framework/io/json_reason.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

void put(Json& row, const char* name, int64_t value) { row[name] = value; }
void put(Json& row, const char* name, double value) { row[name] = value; }
void put(Json& row, const char* name, const std::string& value) { row[name] = value; }
template <class Value>
void put(Json& row, const char* name, const std::optional<Value>& value) {
  if (value) put(row, name, *value);
}

void take(const Json& field, int64_t& value) { value = field.get<int64_t>(); }
void take(const Json& field, double& value) { value = field.is_null() ? StepReport::kNone : field.get<double>(); }
void take(const Json& field, std::string& value) { value = field.get<std::string>(); }
template <class Value>
void take(const Json& field, std::optional<Value>& value) {
  take(field, value.emplace());
}

/// Calls `visit(line, number)` for every line that has its end and is not empty.
template <class Visit>
void visit_lines(std::string_view text, Visit&& visit) {
  for (int number = 1;; ++number) {
    const size_t end = text.find('\n');
    if (end == text.npos) return;
    if (end > 0) visit(text.substr(0, end), number);
    text.remove_prefix(end + 1);
  }
}

std::string content_of(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? read_file(path) : std::string();
}

std::string place_of(const std::filesystem::path& path, int number) {
  return fmt::format("{}:{}", path.string(), number);
}

}  // namespace

void MetricsWriter::append(const StepReport& report) { file_.append(metrics_line(report) + "\n"); }

std::string metrics_line(const StepReport& report) {
  Json row;
  visit_metrics(report, [&](const char* name, const auto& value) { put(row, name, value); });
  return row.dump();
}

StepReport parse_metrics_line(std::string_view line, const std::string& place) {
  StepReport report;
  try {
    const Json row = Json::parse(line);
    expect(row.is_object() && row.contains("step"), "{}: not a report: an object with a step is wanted", place);
    visit_metrics(report, [&](const char* name, auto& value) {
      const auto field = row.find(name);
      if (field != row.end()) take(*field, value);
    });
  } catch (const Json::exception& error) {
    fail("{}: not a report: {}; remove this line", place, reason_of(error));
  }
  return report;
}

std::vector<StepReport> read_metrics(const std::filesystem::path& path) {
  std::vector<StepReport> reports;
  visit_lines(content_of(path), [&](std::string_view line, int number) {
    reports.push_back(parse_metrics_line(line, place_of(path, number)));
  });
  return reports;
}

std::string drop_metrics_after(const std::filesystem::path& path, int64_t step) {
  const std::string text = content_of(path);
  std::string kept;
  int count = 0, first = 0;
  const auto drop = [&](int number) { first = count++ == 0 ? number : first; };
  visit_lines(text, [&](std::string_view line, int number) {
    try {
      if (parse_metrics_line(line, "").step <= step) kept.append(line).append("\n");
    } catch (const Error&) {
      drop(number);
    }
  });
  if (!text.empty() && text.back() != '\n') drop(1 + static_cast<int>(std::ranges::count(text, '\n')));
  if (kept != text) write_file(path, kept);
  if (count == 0) return "";
  const std::string place = place_of(path, first);
  return count == 1 ? fmt::format("{}: dropped, it is no report", place)
                    : fmt::format("{}: dropped, and {} more; they are no reports", place, count - 1);
}

}  // namespace tessera
