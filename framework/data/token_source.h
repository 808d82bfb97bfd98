// A stream of tokens, in memory or mapped from files, of any width, seen as one. Copies share the tokens. Whoever
// builds one checks the ids against a vocabulary once (`survey`); from then on every id fits an int32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace tessera {

/// What one pass over all tokens finds.
struct TokenSurvey {
  uint32_t largest = 0;       ///< the largest id
  int64_t first_beyond = -1;  ///< position of the first id ≥ the vocabulary size; -1 if there is none
  uint64_t fingerprint = 0;   ///< a hash of the ids, their order and parts, whatever their width
};

class TokenSource {
 public:
  using Ids = std::variant<std::span<const uint8_t>, std::span<const uint16_t>, std::span<const uint32_t>>;

  TokenSource() = default;
  /// Tokens that `owner` keeps alive (a mapping, a vector).
  TokenSource(Ids ids, std::shared_ptr<const void> owner);
  /// Tokens in memory: uint8_t, uint16_t or uint32_t.
  template <class Id>
  static TokenSource of(std::vector<Id> ids) {
    const auto kept = std::make_shared<const std::vector<Id>>(std::move(ids));
    return {std::span<const Id>(*kept), kept};
  }

  int64_t size() const { return size_; }
  /// Lets `tokens` follow the ones here.
  void append(const TokenSource& tokens);
  /// The tokens [begin, end).
  TokenSource slice(int64_t begin, int64_t end) const;
  /// Copies the tokens [begin, begin + out.size()).
  void copy(int64_t begin, std::span<int32_t> out) const;
  /// Reads everything once; a vocabulary of 0 means that any id will do.
  TokenSurvey survey(int64_t vocab_size) const;

 private:
  struct Segment {
    int64_t begin;  // position of its first token in the stream
    Ids ids;
    std::shared_ptr<const void> owner;
  };

  std::vector<Segment> segments_;
  int64_t size_ = 0;
};

}  // namespace tessera
