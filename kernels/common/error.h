// The one exception type and the one way to raise it. A message names the op (or file, or key), what was wanted, what
// came and what to do, in one sentence. The formatting itself lives in error.cpp: this header is read by every
// compiler.
#pragma once

#include <concepts>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace tessera {

/// Every failure that a caller can cause or must hear about.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One value of a message: a number, a truth value or a text. Types with a `to_string` found by ADL print through it.
struct MessageValue {
  std::string text;

  MessageValue(std::string value) : text(std::move(value)) {}
  MessageValue(std::string_view value) : text(value) {}
  MessageValue(const char* value) : text(value) {}
  MessageValue(bool value) : text(value ? "true" : "false") {}
  MessageValue(char value) : text(1, value) {}
  template <std::integral T>
  MessageValue(T value) : text(std::to_string(value)) {}
  template <std::floating_point T>
  MessageValue(T value) : text(shortest(static_cast<double>(value))) {}
  template <class T>
  requires requires(const T& value) {
    { to_string(value) } -> std::convertible_to<std::string>;
  }
  MessageValue(const T& value) : text(to_string(value)) {}

 private:
  static std::string shortest(double value);
};

/// A literal with one `{}` per argument, counted when it is compiled.
template <class... Args>
struct MessageFormat {
  std::string_view text;

  consteval MessageFormat(const char* literal) : text(literal) {
    size_t holes = 0;
    for (size_t i = 0; i + 1 < text.size(); ++i) holes += text[i] == '{' && text[i + 1] == '}';
    if (holes != sizeof...(Args)) throw "a message needs one {} per argument";
  }
};

/// The text with each `{}` replaced by the next value.
std::string format_message(std::string_view text, std::initializer_list<MessageValue> values);

/// Throws `Error` with the formatted message.
template <class... Args>
[[noreturn]] void fail(MessageFormat<std::type_identity_t<Args>...> format, const Args&... args) {
  throw Error(format_message(format.text, {MessageValue(args)...}));
}

/// Throws `Error` with the formatted message unless `ok`.
template <class... Args>
void expect(bool ok, MessageFormat<std::type_identity_t<Args>...> format, const Args&... args) {
  if (!ok) [[unlikely]]
    throw Error(format_message(format.text, {MessageValue(args)...}));
}

}  // namespace tessera
