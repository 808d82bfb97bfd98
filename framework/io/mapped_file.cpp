#include "framework/io/mapped_file.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "framework/io/file.h"
#include "kernels/common/error.h"

namespace tessera {
namespace {

/// Closes a descriptor when the scope ends: a mapping outlives it.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) close(value);
  }
};

}  // namespace

MappedFile MappedFile::open(const std::filesystem::path& path) {
  // Without O_NONBLOCK a named pipe would wait for its writer before it could be refused.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  expect(file.value >= 0, "{}: cannot be opened for reading: {}", path.string(), cause_and_cure(errno));
  struct stat status {};
  expect(fstat(file.value, &status) == 0, "{}: cannot be read: {}", path.string(), cause_and_cure(errno));
  expect(!S_ISDIR(status.st_mode), "{}: cannot be read: {}", path.string(), cause_and_cure(EISDIR));
  expect(S_ISREG(status.st_mode), "{}: is not a regular file; copy what it holds into one", path.string());

  MappedFile mapped;
  mapped.path_ = path;
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return mapped;
  void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
  expect(address != MAP_FAILED, "{}: cannot be mapped ({} bytes): {}", path.string(), size, cause_and_cure(errno));
  mapped.mapping_ = std::shared_ptr<const void>(address, [size](void* begin) { munmap(begin, size); });
  mapped.bytes_ = {static_cast<const std::byte*>(address), size};
  return mapped;
}

}  // namespace tessera
