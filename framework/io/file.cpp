#include "framework/io/file.h"

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "kernels/common/error.h"

namespace tessera {
namespace {

const char* cure_of(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR: return "check the path";
    case EACCES:
    case EPERM:
    case EROFS: return "change the permissions or choose another place";
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return "make room and try again";
    case EISDIR: return "a file is wanted, so move that folder away or name another";
    default: return "try again or choose another place";
  }
}

}  // namespace

std::string cause_and_cure(int error_number) {
  return std::generic_category().message(error_number) + "; " + cure_of(error_number);
}

std::string read_file(const std::filesystem::path& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  expect(descriptor >= 0, "{}: cannot be opened for reading: {}", path.string(), cause_and_cure(errno));
  std::string content;
  std::array<char, 1 << 16> piece;
  ssize_t count = 0;
  do {
    count = read(descriptor, piece.data(), piece.size());
    if (count > 0) content.append(piece.data(), static_cast<size_t>(count));
  } while (count > 0 || (count < 0 && errno == EINTR));
  const int cause = errno;
  close(descriptor);
  expect(count == 0, "{}: cannot be read: {}", path.string(), cause_and_cure(cause));
  return content;
}

AppendFile::AppendFile(std::filesystem::path path) : path_(std::move(path)) {
  descriptor_ = open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  expect(descriptor_ >= 0, "{}: cannot be opened for writing: {}", path_.string(), cause_and_cure(errno));
}

AppendFile::~AppendFile() { close(descriptor_); }

void AppendFile::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    expect(written >= 0, "{}: cannot be written: {}", path_.string(), cause_and_cure(errno));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace tessera
