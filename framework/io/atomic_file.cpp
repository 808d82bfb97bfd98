#include "framework/io/atomic_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "framework/io/file.h"
#include "kernels/common/error.h"

namespace tessera {
namespace {

constexpr size_t kBufferBytes = 1 << 16;

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  expect(path_.has_filename(), "{}: cannot be written: a file name is wanted", path_.string());
  partial_ = folder_of(path_) / fmt::format(".{}.{}.partial", path_.filename().string(), getpid());
  unlink(partial_.c_str());  // left by a killed process that had the same number
  descriptor_ = open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) refuse("cannot be created");
  buffer_.reserve(kBufferBytes);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!partial_.empty()) unlink(partial_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() >= kBufferBytes) return put(bytes);
  buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void AtomicFile::commit() {
  flush();
  if (fsync(descriptor_) != 0) refuse("cannot be flushed");
  if (close(std::exchange(descriptor_, -1)) != 0) refuse("cannot be closed");
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) refuse("cannot be put in place");
  partial_.clear();
  sync_folder(folder_of(path_));
}

void AtomicFile::flush() {
  put(std::as_bytes(std::span(buffer_)));
  buffer_.clear();
}

void AtomicFile::put(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), std::min<size_t>(bytes.size(), 1 << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) refuse("cannot be written");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::refuse(const char* what) const {
  const std::string why = cause_and_cure(errno);
  const std::string kept = access(path_.c_str(), F_OK) == 0 ? " (what was there before is untouched)" : "";
  fail("{}: {}: {}{}", path_.string(), what, why, kept);
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  expect(descriptor >= 0, "{}: the folder cannot be opened: {}", folder.string(), cause_and_cure(errno));
  const int result = fsync(descriptor);
  const int cause = errno;
  close(descriptor);
  // Some network file systems have no flush for folders; the rename itself was still atomic there.
  expect(result == 0 || cause == EINVAL || cause == ENOTSUP, "{}: the folder cannot be flushed: {}", folder.string(),
         cause_and_cure(cause));
}

}  // namespace tessera
