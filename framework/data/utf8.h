// UTF-8 (RFC 3629): checking, walking and repairing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tessera {

/// Bytes of the well-formed character at the front of `text`: 1 to 4, or 0 where there is none. Overlong forms,
/// surrogates and code points beyond U+10FFFF are not well-formed.
size_t character_length(std::string_view text);

/// The code point of a well-formed character of one to four bytes.
uint32_t code_point_of(std::string_view character);

/// Offset of the first byte that is not part of a well-formed character; `npos` if all are.
size_t find_malformed(std::string_view text);

/// The text with each malformed byte replaced by U+FFFD.
std::string repaired(std::string_view text);

/// A character as a message may print it: 'é' (U+00E9), or only U+000A where it has no picture.
std::string describe_character(std::string_view character);

}  // namespace tessera
