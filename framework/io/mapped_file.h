// A file seen as memory: read-only, 64-bit offsets, paged in on first touch. The bytes live as long as any copy of the
// handle. Another process that shortens the file while it is mapped ends this one with SIGBUS, except that what goes
// missing within a page reads as zeros; replacing the file is harmless.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace tessera {

/// A shared handle to the bytes of a file.
class MappedFile {
 public:
  /// Maps a regular file (links are followed). Errors: missing, not a regular file, not readable.
  static MappedFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  /// What keeps the mapping alive, for whoever holds on to the bytes alone.
  std::shared_ptr<const void> owner() const { return mapping_; }

 private:
  std::filesystem::path path_;
  std::shared_ptr<const void> mapping_;
  std::span<const std::byte> bytes_;
};

}  // namespace tessera
