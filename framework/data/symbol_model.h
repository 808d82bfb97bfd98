// The tokenizer of a list of symbols: characters of a text, or the words of a synthetic task.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "framework/data/tokenizer.h"

namespace tessera {

class SymbolModel final : public TokenizerModel {
 public:
  /// Token i is symbols[i]; `kind` is its name in JSON. Error: no symbols, an empty or a repeated one, one not UTF-8.
  SymbolModel(std::string kind, std::vector<std::string> symbols);
  SymbolModel(const SymbolModel&) = delete;  // `tokens_` points into `symbols_`
  SymbolModel& operator=(const SymbolModel&) = delete;

  std::string_view kind() const override { return kind_; }
  int64_t vocab_size() const override { return static_cast<int64_t>(symbols_.size()); }
  std::vector<int32_t> encode(std::string_view text, const TextPlace& place) const override;
  std::string decode(std::span<const int32_t> tokens) const override;
  nlohmann::json to_json() const override;
  std::string describe() const override;

 private:
  /// The symbols that begin with one byte: lengths, longest first; the token, if the byte alone is the only one.
  struct Start {
    std::vector<size_t> lengths;
    int32_t alone = -1;
  };

  std::string kind_;
  std::vector<std::string> symbols_;
  std::unordered_map<std::string_view, int32_t> tokens_;
  std::array<Start, 256> starts_;
};

/// Every character of the texts once, in the order of the code points.
std::vector<std::string> characters_of(std::span<const std::string_view> texts);

}  // namespace tessera
