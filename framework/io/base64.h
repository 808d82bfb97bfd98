// Base64 (RFC 4648, section 4): bytes inside JSON.
#pragma once

#include <string>
#include <string_view>

namespace tessera {

std::string to_base64(std::string_view bytes);

/// The bytes that `text` stands for; `name` is what an error calls it. Error: a character, a length or a padding that
/// to_base64 never writes.
std::string from_base64(std::string_view text, std::string_view name);

}  // namespace tessera
