// A file that appears whole or not at all: it is written beside its path, flushed to the disk and renamed over it.
// Until commit() returns, and after any error, what was at the path before is untouched.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace tessera {

/// The file in the making. Every error is one sentence with the path and the cause (full disk, read-only folder…).
class AtomicFile {
 public:
  /// Opens the temporary file `.NAME.PID.partial` in the folder of `path`, which must exist.
  explicit AtomicFile(std::filesystem::path path);
  /// Removes the temporary file unless it was committed.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends. Small pieces are gathered in a buffer.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Flushes, renames over `path` and flushes the folder, so that the new file survives a power cut. Call once, last.
  void commit();

 private:
  void flush();
  void put(std::span<const std::byte> bytes);
  [[noreturn]] void refuse(const char* what) const;

  std::filesystem::path path_;
  std::filesystem::path partial_;
  std::string buffer_;
  int descriptor_ = -1;
};

/// `text` as the whole content of `path`, through an AtomicFile.
void write_file(const std::filesystem::path& path, std::string_view text);

/// Flushes a folder's entries to the disk: after creating, renaming or removing something in it.
void sync_folder(const std::filesystem::path& folder);

}  // namespace tessera
