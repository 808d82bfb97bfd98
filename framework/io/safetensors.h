// The safetensors format: a 64-bit header length, a JSON header {"name": {"dtype", "shape", "data_offsets"}, …}, then
// the bytes of all tensors, packed, little-endian, C order. https://github.com/huggingface/safetensors, README,
// "Format". Nothing in a file is trusted: whatever a reader returns has been checked against the size of the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/io/mapped_file.h"
#include "kernels/common/dtype.h"

namespace tessera {

/// One named tensor. `bytes` are borrowed; in a file of another writer they may be unaligned, so copy, don't cast.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  ///< [] is a scalar; an extent may be 0
  std::span<const std::byte> bytes;

  /// Product of the extents.
  int64_t elements() const;
};

/// Free-form text beside the tensors ("__metadata__").
using SafetensorsMetadata = std::map<std::string, std::string, std::less<>>;

/// What a header says, with every entry's bytes inside `file`.
struct SafetensorsContent {
  std::vector<SafetensorsEntry> entries;  ///< in the order of their bytes
  SafetensorsMetadata metadata;
};

/// Reads a whole file image; `name` is what errors call it. Errors, each naming the tensor: a header that is longer
/// than the file or 100 MB, bad JSON, a duplicate or unknown key, an unknown dtype, an extent or size beyond 2^63 - 1,
/// offsets that overlap, leave holes, lie outside the file or disagree with dtype and shape, a boolean that is neither
/// 0 nor 1.
SafetensorsContent parse_safetensors(std::span<const std::byte> file, std::string_view name);

/// A mapped file: opening reads the header, a tensor's bytes are paged in when they are touched.
class SafetensorsFile {
 public:
  /// Errors: those of MappedFile::open and parse_safetensors.
  static SafetensorsFile open(const std::filesystem::path& path);

  /// All tensors, in the order of their bytes; the spans live as long as any copy of this handle.
  const std::vector<SafetensorsEntry>& entries() const { return content_.entries; }
  /// The tensor of that name, or null.
  const SafetensorsEntry* find(std::string_view name) const;
  const SafetensorsMetadata& metadata() const { return content_.metadata; }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  MappedFile file_;
  SafetensorsContent content_;
};

/// Brings an entry's bytes to the host when its turn to be written comes; they must stay valid until the next call.
using FetchBytes = std::function<std::span<const std::byte>(const SafetensorsEntry&)>;

/// Writes a file through AtomicFile, streaming the tensors: wider dtypes first, otherwise in the order given, each
/// aligned to its element size. Without `fetch` the entries' own bytes are written. Errors: a name used twice or not
/// UTF-8, bytes that do not fit dtype and shape, and everything AtomicFile says; the old file is then untouched.
void write_safetensors(const std::filesystem::path& path, std::vector<SafetensorsEntry> entries,
                       const SafetensorsMetadata& metadata = {}, const FetchBytes& fetch = {});

}  // namespace tessera
