// What a command has to say, on the standard output.
#pragma once

#include <cstdio>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace tessera {

/// Prints a formatted text. Where it cannot be written, the work goes on: the program's end tells (exit_code_of).
template <class... Values>
void say(fmt::format_string<Values...> text, Values&&... values) {
  const std::string said = fmt::format(text, std::forward<Values>(values)...);
  std::fwrite(said.data(), 1, said.size(), stdout);
}

}  // namespace tessera
