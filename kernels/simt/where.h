// Places in the source of a kernel, for messages.
#pragma once

#include <cstdint>
#include <string>

namespace tessera::simt {

/// Where in the kernel's source a word was used.
struct Where {
  const char* file;
  int line;
  static constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
  friend bool operator==(const Where& a, const Where& b) { return a.line == b.line && a.file == b.file; }
};
std::string to_string(const Where& where);
/// The place as one number.
uintptr_t site_of(const Where& where);

}  // namespace tessera::simt
