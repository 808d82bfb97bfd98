#include "framework/data/tokenizer.h"

#include <charconv>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "framework/data/sentencepiece_model.h"
#include "framework/data/symbol_model.h"
#include "framework/data/utf8.h"
#include "framework/io/json_reason.h"
#include "kernels/common/error.h"

namespace tessera {
namespace {

class ByteModel final : public TokenizerModel {
 public:
  std::string_view kind() const override { return "byte"; }
  int64_t vocab_size() const override { return 256; }
  std::vector<int32_t> encode(std::string_view text, const TextPlace&) const override {
    std::vector<int32_t> tokens(text.size());
    for (size_t i = 0; i < text.size(); ++i) tokens[i] = static_cast<uint8_t>(text[i]);
    return tokens;
  }
  std::string decode(std::span<const int32_t> tokens) const override {
    std::string text;
    for (const int32_t token : tokens) {
      expect(token >= 0 && token < 256, "tokenizer: the token {} is not a byte", token);
      text.push_back(static_cast<char>(token));
    }
    return repaired(text);
  }
  nlohmann::json to_json() const override { return {{"kind", "byte"}}; }
  std::string describe() const override { return "256 bytes"; }
};

class IdModel final : public TokenizerModel {
 public:
  explicit IdModel(int64_t vocab_size) : vocab_size_(vocab_size) {}

  std::string_view kind() const override { return "ids"; }
  int64_t vocab_size() const override { return vocab_size_; }
  std::vector<int32_t> encode(std::string_view text, const TextPlace& place) const override {
    std::vector<int32_t> tokens;
    constexpr std::string_view kBlank = " \t\r\n";
    for (size_t at = text.find_first_not_of(kBlank); at != text.npos; at = text.find_first_not_of(kBlank, at)) {
      const std::string_view word = text.substr(at, text.find_first_of(kBlank, at) - at);
      int32_t token = -1;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), token);
      expect(
          error == std::errc() && end == word.data() + word.size() && token >= 0 && token < vocab_size_,
          "{}: '{}' at byte {} is not a token below {}; this vocabulary has no text, write the numbers of the tokens",
          place.name, word.substr(0, 40), place.offset + static_cast<int64_t>(at), vocab_size_);
      tokens.push_back(token);
      at += word.size();
    }
    return tokens;
  }
  std::string decode(std::span<const int32_t> tokens) const override {
    return fmt::format("{}", fmt::join(tokens.begin(), tokens.end(), " "));
  }
  nlohmann::json to_json() const override { return {{"kind", "ids"}, {"vocab_size", vocab_size_}}; }
  std::string describe() const override { return fmt::format("{} token ids", vocab_size_); }

 private:
  int64_t vocab_size_;
};

}  // namespace

Tokenizer Tokenizer::characters(std::span<const std::string_view> texts) {
  return Tokenizer(std::make_shared<SymbolModel>("char", characters_of(texts)));
}

Tokenizer Tokenizer::bytes() { return Tokenizer(std::make_shared<ByteModel>()); }

Tokenizer Tokenizer::ids(int64_t vocab_size) { return Tokenizer(std::make_shared<IdModel>(vocab_size)); }

Tokenizer Tokenizer::symbols(std::vector<std::string> symbols) {
  return Tokenizer(std::make_shared<SymbolModel>("symbols", std::move(symbols)));
}

Tokenizer Tokenizer::sentencepiece(std::span<const std::string_view> texts, int64_t vocab_size) {
  return Tokenizer(train_sentencepiece(texts, vocab_size));
}

int64_t Tokenizer::size_in(std::string_view specification) {
  constexpr std::string_view kPieces = "sentencepiece:";
  if (specification == "char" || specification == "byte") return 0;
  int64_t size = 0;
  if (specification.starts_with(kPieces)) {
    const char* const end = specification.data() + specification.size();
    const auto [rest, error] = std::from_chars(specification.data() + kPieces.size(), end, size);
    if (error != std::errc() || rest != end || size < kFewestPieces || size > kMostPieces) size = 0;
  }
  expect(size > 0, "tokenizer: '{}' is not known; use char, byte or sentencepiece:SIZE with a SIZE from {} to {}",
         specification, kFewestPieces, kMostPieces);
  return size;
}

Tokenizer Tokenizer::build(std::string_view specification, std::span<const std::string_view> texts) {
  if (const int64_t size = size_in(specification); size > 0) return sentencepiece(texts, size);
  return specification == "byte" ? bytes() : characters(texts);
}

nlohmann::json Tokenizer::to_json() const { return model_->to_json(); }

Tokenizer Tokenizer::from_json(const nlohmann::json& json) {
  try {
    const auto kind = json.at("kind").get<std::string>();
    if (kind == "byte") return bytes();
    if (kind == "ids") {
      const auto size = json.at("vocab_size").get<int64_t>();
      expect(size > 0 && size <= (int64_t{1} << 31), "tokenizer: the saved vocab_size {} makes no sense", size);
      return ids(size);
    }
    if (kind == "sentencepiece") return Tokenizer(load_sentencepiece(json.at("model").get<std::string>()));
    expect(kind == "char" || kind == "symbols", "tokenizer: the saved kind '{}' is not known to this version", kind);
    return Tokenizer(std::make_shared<SymbolModel>(kind, json.at("symbols").get<std::vector<std::string>>()));
  } catch (const nlohmann::json::exception& error) {
    fail("tokenizer: the saved tokenizer is damaged: {}", reason_of(error));
  }
}

}  // namespace tessera
