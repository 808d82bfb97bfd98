// A file that one process at a time holds. The kernel releases it however that process ends, and a copy of the file is
// not held: nothing is written into it.
#pragma once

#include <filesystem>

namespace tessera {

class FileLock {
 public:
  /// Opens the file, makes it where it is missing, and tries to take it. Where the file system knows no locks, as some
  /// network file systems do, or the file cannot be opened, it goes on without.
  explicit FileLock(std::filesystem::path path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// Whether another process (or another FileLock of this one) holds it.
  bool taken() const { return taken_; }
  /// False once somebody has removed the file, its folder included, or put another in its place.
  bool in_place() const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  bool taken_ = false;
};

}  // namespace tessera
