// Files read as a whole and files that grow. What the system refuses becomes one sentence: path, cause and cure.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace tessera {

/// What an `errno` says and what helps: "No space left on device; make room and try again".
std::string cause_and_cure(int error_number);

/// The content of a file or a pipe. Errors: missing, a directory, not readable.
std::string read_file(const std::filesystem::path& path);

/// A file that only grows. What was appended is on its way to the disk when `append` returns.
class AppendFile {
 public:
  /// Opens the file and makes it where it is missing; its folder must exist.
  explicit AppendFile(std::filesystem::path path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  /// Error: not everything could be written; a first part of it may have been.
  void append(std::string_view bytes);

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace tessera
