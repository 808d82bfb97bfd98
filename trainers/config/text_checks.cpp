#include "trainers/config/text_checks.h"

#include "framework/data/tokenizer.h"
#include "trainers/config/option.h"

namespace tessera {

bool is_device(std::string_view text) {
  int64_t index = 0;
  if (text.starts_with("cuda:")) return parse_integer(text.substr(5), index) && index >= 0 && index < 1024;
  return text == "auto" || text == "cpu" || text == "cuda";
}

bool is_device_list(std::string_view text) {
  if (text == "all") return true;
  while (true) {
    const size_t comma = text.find(',');
    int64_t index = 0;
    if (!parse_integer(text.substr(0, comma), index) || index < 0 || index >= 1024) return false;
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
  }
}

bool is_tokenizer(std::string_view text) {
  constexpr std::string_view kPieces = "sentencepiece:";
  int64_t size = 0;
  if (text.starts_with(kPieces))
    return parse_integer(text.substr(kPieces.size()), size) && size >= Tokenizer::kFewestPieces &&
           size <= Tokenizer::kMostPieces;
  return text == "char" || text == "byte";
}

bool is_loss_scale(std::string_view text) {
  double scale = 0;
  return text == "dynamic" || text == "off" ||
         (parse_real(text, scale) && scale >= kSmallestScale && scale <= kLargestScale);
}

bool is_not_empty(std::string_view text) { return !text.empty(); }

}  // namespace tessera
