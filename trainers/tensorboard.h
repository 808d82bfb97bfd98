// TensorBoard event files with the numbers of metrics.jsonl.
#pragma once

#include <filesystem>

#include "framework/io/file.h"
#include "trainers/report.h"

namespace tessera {

/// Writes `events.out.tfevents.*` into a folder. Errors are one sentence with the path and the cause.
class TensorBoardWriter {
 public:
  /// `first_step` is the first that will be reported: what earlier files in the folder say of it and later ones is
  /// dropped by the page.
  TensorBoardWriter(const std::filesystem::path& folder, int64_t first_step);

  /// The measured numbers of a report, as `loss/val_loss`, `training/learning_rate`, `machine/tokens_per_second`…
  void append(const StepReport& report);

  const std::filesystem::path& path() const { return file_.path(); }

 private:
  void write(std::string_view event);

  AppendFile file_;
};

}  // namespace tessera
