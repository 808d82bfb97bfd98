// TensorBoard event files with the numbers of metrics.jsonl.
#pragma once

#include <filesystem>

#include "trainers/report.h"

namespace tessera {

/// Writes `events.out.tfevents.*` into a folder. Errors are one sentence with the path and the cause.
class TensorBoardWriter {
 public:
  /// `first_step` is the first that will be reported: what earlier files in the folder say of it and later ones is
  /// dropped by the page.
  TensorBoardWriter(const std::filesystem::path& folder, int64_t first_step);
  ~TensorBoardWriter();
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;

  /// The measured numbers of a report, as `loss/val_loss`, `training/learning_rate`, `machine/tokens_per_second`…
  void append(const StepReport& report);

  const std::filesystem::path& path() const { return path_; }

 private:
  void write(std::string_view event);

  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace tessera
