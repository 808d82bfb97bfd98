// The folder of a run while one training, and no other, writes to it. Of several ranks the first one alone has it open.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "framework/io/file_lock.h"
#include "trainers/config/load.h"

namespace tessera {

class RunFolder {
 public:
  explicit RunFolder(const LoadedConfig& loaded);

  /// Makes the folder, unless `init_from` is resume, locks it until the end of this process and puts its checkpoints in
  /// order. Returns notices. Errors: another training writes to it; it holds a complete checkpoint and `init_from` is
  /// scratch, or none and it is resume.
  std::vector<std::string> open();
  /// config.cfg: what repeats the whole run.
  void write_config() const;

  /// False once somebody has removed or replaced the folder, or its config.cfg.
  bool stands() const;
  /// Makes, locks and writes it again then. Error: what is there now belongs to another run.
  void restore();

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  void make();
  void take_lock();

  std::filesystem::path path_;
  bool resumes_;
  std::string config_text_;
  std::optional<FileLock> lock_;
};

}  // namespace tessera
