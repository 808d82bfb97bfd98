// What went wrong in a JSON text, for our messages.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace tessera {

/// The library's sentence without the code in brackets that it opens with.
inline std::string reason_of(const nlohmann::json::exception& error) {
  const std::string text = error.what();
  const size_t end = text.find("] ");
  return text.starts_with('[') && end != text.npos ? text.substr(end + 2) : text;
}

}  // namespace tessera
