#include "kernels/common/error.h"

#include <fmt/format.h>

namespace tessera {

std::string MessageValue::shortest(double value) { return fmt::format("{}", value); }

std::string format_message(std::string_view text, std::initializer_list<MessageValue> values) {
  std::string message;
  for (const MessageValue& value : values) {
    const size_t hole = text.find("{}");
    message.append(text.substr(0, hole)).append(value.text);
    text.remove_prefix(hole + 2);
  }
  return message.append(text);
}

}  // namespace tessera
