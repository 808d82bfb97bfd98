#include "framework/io/base64.h"

#include <algorithm>
#include <cstdint>

#include "kernels/common/error.h"

namespace tessera {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t present = std::min<size_t>(3, bytes.size() - at);
    uint32_t group = 0;
    for (size_t i = 0; i < 3; ++i) group = group << 8 | (i < present ? static_cast<uint8_t>(bytes[at + i]) : 0u);
    for (size_t i = 0; i < 4; ++i) text += i <= present ? kDigits[group >> (18 - 6 * i) & 63] : '=';
  }
  return text;
}

std::string from_base64(std::string_view text, std::string_view name) {
  expect(text.size() % 4 == 0, "{}: {} characters are no base64 text, which has a multiple of four", name, text.size());
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  text.remove_suffix(padding);
  std::string bytes;
  uint32_t group = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t digit = kDigits.find(text[i]);
    expect(digit != kDigits.npos, "{}: its base64 text has a wrong character at {}", name, i);
    group = group << 6 | static_cast<uint32_t>(digit);
    if (i % 4 > 0) bytes += static_cast<char>(group >> (6 - 2 * (i % 4)));
  }
  return bytes;
}

}  // namespace tessera
