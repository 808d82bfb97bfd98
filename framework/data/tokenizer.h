// Text to tokens and back. A tokenizer is a value: it travels in a run folder as JSON, and the same text gives the same
// tokenizer and the same JSON on every machine.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace tessera {

/// Where a piece of text comes from, for messages.
struct TextPlace {
  std::string name = "the text";
  int64_t offset = 0;  ///< of the piece's first byte
};

/// What a tokenizer does; one implementation per kind, immutable, shared by the copies of a Tokenizer.
class TokenizerModel {
 public:
  virtual ~TokenizerModel() = default;
  virtual std::string_view kind() const = 0;
  virtual int64_t vocab_size() const = 0;
  virtual std::vector<int32_t> encode(std::string_view text, const TextPlace& place) const = 0;
  virtual std::string decode(std::span<const int32_t> tokens) const = 0;
  virtual nlohmann::json to_json() const = 0;
  virtual std::string describe() const = 0;
};

class Tokenizer {
 public:
  /// One token per Unicode character of the texts, which are UTF-8, in the order of their code points.
  static Tokenizer characters(std::span<const std::string_view> texts);
  /// One token per byte: 256, for any text.
  static Tokenizer bytes();
  /// No text at all: "15 496 995" stands for these tokens. For token files, whose vocabulary is not known.
  static Tokenizer ids(int64_t vocab_size);
  /// The given symbols, token i being symbols[i]; the longest one that fits is taken.
  static Tokenizer symbols(std::vector<std::string> symbols);
  /// Sizes that a SentencePiece vocabulary may have: it holds the 256 bytes and a few marks in any case.
  static constexpr int64_t kFewestPieces = 300, kMostPieces = 1'000'000;
  /// A byte-pair vocabulary of at most `vocab_size` pieces, trained on the texts; any text can be encoded and comes
  /// back unchanged. Error where SentencePiece is not built in.
  static Tokenizer sentencepiece(std::span<const std::string_view> texts, int64_t vocab_size);

  /// The SIZE of "sentencepiece:SIZE"; 0 of "char" and "byte". Anything else is an error.
  static int64_t size_in(std::string_view specification);
  /// From the words of a config file, as `size_in` takes them.
  static Tokenizer build(std::string_view specification, std::span<const std::string_view> texts);

  /// The tokenizer as a JSON object, and back. Errors: a kind that is not known, members missing or of the wrong type.
  nlohmann::json to_json() const;
  static Tokenizer from_json(const nlohmann::json& json);

  /// "char", "byte", "ids", "symbols" or "sentencepiece".
  std::string_view kind() const { return model_->kind(); }
  int64_t vocab_size() const { return model_->vocab_size(); }
  /// For people: "65 characters", "256 bytes"…
  std::string describe() const { return model_->describe(); }
  /// The tokens of a text. Error: a character that is not in the vocabulary, with its place.
  std::vector<int32_t> encode(std::string_view text, const TextPlace& place = {}) const {
    return model_->encode(text, place);
  }
  /// The text of tokens, as UTF-8 (half characters become U+FFFD). Error: a token outside of the vocabulary.
  std::string decode(std::span<const int32_t> tokens) const { return model_->decode(tokens); }

  explicit Tokenizer(std::shared_ptr<const TokenizerModel> model) : model_(std::move(model)) {}

 private:
  std::shared_ptr<const TokenizerModel> model_;
};

}  // namespace tessera
