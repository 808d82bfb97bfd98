#include "framework/data/symbol_model.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "framework/data/utf8.h"
#include "kernels/common/error.h"

namespace tessera {

SymbolModel::SymbolModel(std::string kind, std::vector<std::string> symbols)
    : kind_(std::move(kind)), symbols_(std::move(symbols)) {
  expect(!symbols_.empty(), "tokenizer: a vocabulary needs at least one symbol");
  for (size_t i = 0; i < symbols_.size(); ++i) {
    const std::string_view symbol = symbols_[i];
    const bool usable = !symbol.empty() && find_malformed(symbol) == symbol.npos;
    expect(usable && tokens_.emplace(symbol, static_cast<int32_t>(i)).second,
           "tokenizer: symbol {} of the vocabulary is empty, repeated or not UTF-8", i);
    std::vector<size_t>& lengths = starts_[static_cast<uint8_t>(symbol[0])].lengths;
    if (std::ranges::find(lengths, symbol.size()) == lengths.end()) lengths.push_back(symbol.size());
  }
  for (size_t byte = 0; byte < starts_.size(); ++byte) {
    Start& start = starts_[byte];
    std::ranges::sort(start.lengths, std::greater<>());
    const char character = static_cast<char>(byte);
    if (start.lengths == std::vector<size_t>{1}) start.alone = tokens_.at(std::string_view(&character, 1));
  }
}

std::vector<int32_t> SymbolModel::encode(std::string_view text, const TextPlace& place) const {
  std::vector<int32_t> tokens;
  tokens.reserve(text.size());
  size_t at = 0;
  while (at < text.size()) {
    const Start& start = starts_[static_cast<uint8_t>(text[at])];
    if (start.alone >= 0) {
      tokens.push_back(start.alone);
      ++at;
      continue;
    }
    const size_t before = at;
    for (const size_t length : start.lengths) {
      const auto token = tokens_.find(text.substr(at, length));
      if (token == tokens_.end()) continue;
      tokens.push_back(token->second);
      at += length;
      break;
    }
    if (at > before) continue;
    const size_t length = character_length(text.substr(at));
    const auto what = length > 0 ? "the character " + describe_character(text.substr(at, length))
                                 : fmt::format("the byte {:#04x}", static_cast<uint8_t>(text[at]));
    fail("{}: {} at byte {} is not in the vocabulary of {}; leave it out", place.name, what,
         place.offset + static_cast<int64_t>(at), describe());
  }
  return tokens;
}

std::string SymbolModel::decode(std::span<const int32_t> tokens) const {
  std::string text;
  for (const int32_t token : tokens) {
    expect(token >= 0 && token < vocab_size(), "tokenizer: the token {} is outside of the vocabulary of {}", token,
           describe());
    text += symbols_[static_cast<size_t>(token)];
  }
  return text;
}

nlohmann::json SymbolModel::to_json() const { return {{"kind", kind_}, {"symbols", symbols_}}; }

std::string SymbolModel::describe() const {
  return fmt::format("{} {}", symbols_.size(), kind_ == "char" ? "characters" : "symbols");
}

std::vector<std::string> characters_of(std::span<const std::string_view> texts) {
  std::vector<bool> seen(0x110000);
  std::vector<std::string> characters;
  const auto meet = [&](std::string_view character) {
    const uint32_t point = code_point_of(character);
    if (!seen[point]) characters.emplace_back(character);
    seen[point] = true;
  };
  for (const std::string_view text : texts) {
    for (size_t at = 0, length = 0; at < text.size(); at += length) {
      length = character_length(text.substr(at));
      expect(length > 0, "tokenizer: the text is not UTF-8 at byte {}; set tokenizer = byte", at);
      meet(text.substr(at, length));
    }
  }
  std::ranges::sort(characters);  // the byte order of UTF-8 is that of the code points
  return characters;
}

}  // namespace tessera
