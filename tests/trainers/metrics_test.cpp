#include "trainers/metrics.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "framework/error.h"
#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

StepReport full_report() {
  return {.step = 250,
          .applied = 249,
          .train_loss = 1.5,
          .eval_train_loss = 1.25,
          .val_loss = 1.75,
          .val_accuracy = 0.5,
          .learning_rate = 1e-3,
          .grad_norm = 2.5,
          .grad_norm_clipped = 1.0,
          .scale = 65536,
          .growth_tracker = 3,
          .skipped_because = kGradientNotFinite,
          .skipped = 1,
          .tokens = int64_t{1} << 40,
          .seconds = 12.5,
          .tokens_per_second = 1e5,
          .peak_share = 0.41,
          .peak_memory_bytes = int64_t{3} << 30,
          .ranks = 4,
          .rank_tokens_per_second = 2.5e4,
          .communication_share = 0.5,
          .overlap = 0.75,
          .scaling_efficiency = 0.875};
}

TEST(Metrics, ALineHoldsEveryNumberAndReadsBack) {
  const StepReport report = full_report();
  const auto row = nlohmann::json::parse(metrics_line(report));
  const StepReport back = parse_metrics_line(metrics_line(report), "m:1");
  size_t names = 0;
  visit_metrics(report, [&](const char* name, const auto&) { names += row.contains(name); });
  EXPECT_EQ(names, 23U);
  EXPECT_EQ(row.size(), 23U);
  EXPECT_EQ(row["skipped_because"], "a gradient was not finite");
  EXPECT_EQ(row["step"], 250);
  EXPECT_EQ(row["val_loss"], 1.75);
  EXPECT_EQ(row["tokens"], int64_t{1} << 40);
  EXPECT_EQ(metrics_line(back), metrics_line(report));
}

TEST(Metrics, WhatWasNotMeasuredIsAbsentAndWhatIsNotFiniteIsNull) {
  const auto row = nlohmann::json::parse(metrics_line({.step = 1, .train_loss = HUGE_VAL, .val_loss = NAN}));
  EXPECT_TRUE(row.at("train_loss").is_null());
  EXPECT_TRUE(row.at("grad_norm").is_null());
  EXPECT_TRUE(row.at("val_loss").is_null());
  EXPECT_FALSE(row.contains("peak_share"));
  EXPECT_FALSE(row.contains("overlap"));
  EXPECT_FALSE(row.contains("grad_norm_clipped"));
  const StepReport back = parse_metrics_line(row.dump(), "m:1");
  EXPECT_TRUE(std::isnan(back.train_loss));
  EXPECT_TRUE(back.val_loss && std::isnan(*back.val_loss));
  EXPECT_FALSE(back.peak_share);
}

TEST(Metrics, WritesAppendsAndReads) {
  const TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  EXPECT_TRUE(read_metrics(path).empty());
  for (int64_t start : {1, 3}) {
    MetricsWriter writer(path);
    writer.append({.step = start, .train_loss = 4});
    EXPECT_EQ(read_metrics(path).size(), static_cast<size_t>(start));  // readable while the writer is open
    writer.append({.step = start + 1, .train_loss = 3});
  }
  const auto reports = read_metrics(path);
  ASSERT_EQ(reports.size(), 4U);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(reports[i].step, static_cast<int64_t>(i) + 1);
}

TEST(Metrics, DropsWhatIsNewerThanTheCheckpoint) {
  const TemporaryFolder folder;
  const auto path = folder.write("metrics.jsonl",
                                 "{\"step\": 1, \"other\": [1]}\n"
                                 "{\"step\": 2}\n\n{\"step\": 3}\n{\"step\": 4, \"train_lo");
  EXPECT_EQ(read_metrics(path).size(), 3U);
  EXPECT_THAT(drop_metrics_after(path, 2), EndsWith("metrics.jsonl:5: dropped, it is no report"));
  EXPECT_EQ(read_all(path), "{\"step\": 1, \"other\": [1]}\n{\"step\": 2}\n");
  const auto written = std::filesystem::last_write_time(path);
  EXPECT_EQ(drop_metrics_after(path, 2), "");
  EXPECT_EQ(std::filesystem::last_write_time(path), written);
  drop_metrics_after(path, 0);
  EXPECT_EQ(read_all(path), "");
  drop_metrics_after(folder / "missing.jsonl", 2);
  EXPECT_FALSE(std::filesystem::exists(folder / "missing.jsonl"));
}

TEST(Metrics, DropsLinesThatAreNoReports) {
  const TemporaryFolder folder;
  std::string garbage("\0\xff{]\n", 5);
  const auto path =
      folder.write("metrics.jsonl", "{\"step\": 1}\n" + garbage + "{\"step\": \"x\"}\n{\"step\": 2}\n{\"st");
  EXPECT_THAT(drop_metrics_after(path, 9), EndsWith("metrics.jsonl:2: dropped, and 2 more; they are no reports"));
  EXPECT_EQ(read_all(path), "{\"step\": 1}\n{\"step\": 2}\n");
}

TEST(Metrics, RefusesWhatIsNoReport) {
  const TemporaryFolder folder;
  const auto path = folder.write("metrics.jsonl", "{\"step\": 1}\nnan\n{\"step\": 3}\n");
  EXPECT_THAT(message_of([&] { read_metrics(path); }), HasSubstr("metrics.jsonl:2: not a report: "));
  for (const char* line : {"", "[]", "{}", "3", "{\"step\": \"x\"}", "{\"step\": 1, \"train_loss\": \"low\"}",
                           "{\"step\": 1}{", "{\"step\": null}", "{\"step\": 1, \"train_loss\": NaN}"})
    EXPECT_THROW(parse_metrics_line(line, "m:1"), Error) << line;
}

TEST(Metrics, NamesTheFileThatCannotBeWritten) {
  EXPECT_THAT(message_of([] { MetricsWriter("/no/such/metrics.jsonl"); }),
              HasSubstr("/no/such/metrics.jsonl: cannot be opened for writing: No such file or directory"));
  MetricsWriter full("/dev/full");
  EXPECT_THAT(message_of([&] { full.append({}); }),
              HasSubstr("/dev/full: cannot be written: No space left on device; make room"));
  const TemporaryFolder folder;
  EXPECT_THAT(message_of([&] { read_metrics(folder.path()); }), HasSubstr(folder.path().string() + ": cannot be read"));
}

}  // namespace
}  // namespace tessera
