// Whatever the bytes, the safetensors reader either throws an Error or describes tensors that tile the data exactly.
#include <cstdlib>
#include <cstring>
#include <string>

#include "framework/io/safetensors.h"
#include "kernels/common/error.h"

namespace {

void require(bool ok) {
  if (!ok) std::abort();
}

void parse(const std::string& file) {
  const auto bytes = std::as_bytes(std::span(file));
  try {
    const tessera::SafetensorsContent content = tessera::parse_safetensors(bytes, "fuzz");
    size_t data = 0;
    for (const tessera::SafetensorsEntry& entry : content.entries) {
      require(static_cast<int64_t>(entry.bytes.size()) == entry.elements() * size_of(entry.dtype));
      require(entry.bytes.empty() || (entry.bytes.data() >= bytes.data() && &entry.bytes.back() <= &bytes.back()));
      data += entry.bytes.size();
    }
    uint64_t header = 0;
    std::memcpy(&header, file.data(), sizeof(header));
    require(sizeof(header) + header + data == file.size());
  } catch (const tessera::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  std::string text(reinterpret_cast<const char*>(input), size);
  parse(text);
  if (text.empty()) return 0;
  // The same bytes as a header of the right length before some data: most lengths would be refused at once.
  const size_t data = static_cast<uint8_t>(text.back());
  text.pop_back();
  const uint64_t length = text.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  parse(file + text + std::string(data, '\1'));
  return 0;
}
