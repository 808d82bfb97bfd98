#include "framework/data/sentencepiece_model.h"

#include "kernels/common/error.h"

#if TESSERA_WITH_SENTENCEPIECE
#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include "framework/data/symbol_model.h"
#include "framework/data/utf8.h"
#include "framework/io/base64.h"
#endif

namespace tessera {

#if TESSERA_WITH_SENTENCEPIECE
namespace {

constexpr size_t kLongestLine = 4000;  // the trainer passes over lines of more than 4192 bytes
constexpr size_t kTrainingBytes = 16 << 20;

/// Calls `take(line, ends)` for each line, without its newline; `ends` says whether there was one. Lines that are too
/// long are cut between characters.
template <class Take>
void for_each_line(std::string_view text, Take&& take) {
  while (!text.empty()) {
    size_t length = std::min(text.find('\n'), text.size());
    const bool ends = length < text.size() && length <= kLongestLine;
    if (length > kLongestLine) {
      length = kLongestLine;
      while (length > 1 && (static_cast<uint8_t>(text[length]) & 0xc0) == 0x80) --length;
    }
    take(text.substr(0, length), ends);
    text.remove_prefix(length + (ends ? 1 : 0));
  }
}

/// The lines that a vocabulary is trained on.
class TrainingLines final : public sentencepiece::SentenceIterator {
 public:
  explicit TrainingLines(std::span<const std::string_view> texts) {
    size_t bytes = 0;
    for (const std::string_view text : texts) {
      bytes += text.size();
      for_each_line(text, [&](std::string_view line, bool) {
        if (!line.empty()) lines_.push_back(line);
      });
    }
    stride_ = bytes / kTrainingBytes + 1;
    read();
  }
  bool done() const override { return at_ >= lines_.size(); }
  void Next() override {
    at_ += stride_;
    read();
  }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void read() {
    if (!done()) line_ = lines_[at_];
  }
  std::vector<std::string_view> lines_;
  size_t at_ = 0, stride_ = 1;
  std::string line_;
};

/// Every character is a piece, beside the bytes, the newline and the mark of what is unknown.
void refuse_small_vocabulary(std::span<const std::string_view> texts, int64_t vocab_size) {
  constexpr int64_t kOthers = 256 + 2;
  const auto characters = std::ssize(characters_of(texts));
  expect(vocab_size >= characters + kOthers,
         "tokenizer: {} pieces are too few for the {} different characters of this text; set tokenizer = "
         "sentencepiece:{} or more, or tokenizer = byte",
         vocab_size, characters, characters + kOthers);
}

class SentencePieceModel final : public TokenizerModel {
 public:
  explicit SentencePieceModel(std::string bytes) : bytes_(std::move(bytes)) {
    const auto status = processor_.LoadFromSerializedProto(bytes_);
    expect(status.ok(), "tokenizer: the saved SentencePiece model is damaged: {}", status.ToString());
    newline_ = processor_.PieceToId("\n");
  }

  std::string_view kind() const override { return "sentencepiece"; }
  int64_t vocab_size() const override { return processor_.GetPieceSize(); }
  std::vector<int32_t> encode(std::string_view text, const TextPlace& place) const override {
    const size_t bad = find_malformed(text);
    expect(bad == text.npos, "{}: is not UTF-8 at byte {}", place.name, place.offset + static_cast<int64_t>(bad));
    std::vector<int32_t> tokens;
    std::vector<int> pieces;
    for_each_line(text, [&](std::string_view line, bool ends) {
      const auto status = processor_.Encode({line.data(), line.size()}, &pieces);
      expect(status.ok(), "{}: SentencePiece cannot encode a line: {}", place.name, status.ToString());
      tokens.insert(tokens.end(), pieces.begin(), pieces.end());
      if (ends) tokens.push_back(newline_);
    });
    return tokens;
  }
  std::string decode(std::span<const int32_t> tokens) const override {
    for (const int32_t token : tokens) {
      expect(token >= 0 && token < vocab_size(), "tokenizer: the token {} is outside of the vocabulary of {} pieces",
             token, vocab_size());
    }
    std::string text;
    const auto status = processor_.Decode(std::vector<int>(tokens.begin(), tokens.end()), &text);
    expect(status.ok(), "tokenizer: SentencePiece cannot decode {} tokens: {}", tokens.size(), status.ToString());
    return repaired(text);
  }
  nlohmann::json to_json() const override { return {{"kind", "sentencepiece"}, {"model", to_base64(bytes_)}}; }
  std::string describe() const override { return fmt::format("{} SentencePiece pieces", vocab_size()); }

 private:
  std::string bytes_;
  sentencepiece::SentencePieceProcessor processor_;
  int32_t newline_ = 0;
};

}  // namespace

std::shared_ptr<const TokenizerModel> train_sentencepiece(std::span<const std::string_view> texts, int64_t vocab_size) {
  TrainingLines lines(texts);
  expect(!lines.done(), "tokenizer: there is no text to train a SentencePiece vocabulary on");
  const std::unordered_map<std::string, std::string> options{
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(vocab_size)},
      {"hard_vocab_limit", "false"},
      {"byte_fallback", "true"},
      {"user_defined_symbols", "\n"},
      {"allow_whitespace_only_pieces", "true"},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"bos_id", "-1"},
      {"eos_id", "-1"},
      {"num_threads", "1"},
      {"minloglevel", "2"},
  };
  std::string bytes;
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &lines, &bytes);
  if (!status.ok()) {
    refuse_small_vocabulary(texts, vocab_size);
    fail("tokenizer: SentencePiece cannot train a vocabulary of {} pieces: {}; use tokenizer = byte", vocab_size,
         status.ToString());
  }
  return std::make_shared<SentencePieceModel>(std::move(bytes));
}

std::shared_ptr<const TokenizerModel> load_sentencepiece(std::string_view base64) {
  return std::make_shared<SentencePieceModel>(from_base64(base64, "tokenizer"));
}

#else

namespace {

constexpr char kMissing[] =
    "tokenizer: sentencepiece is not built into this program; apt install libsentencepiece-dev and build it again";

}  // namespace

std::shared_ptr<const TokenizerModel> train_sentencepiece(std::span<const std::string_view>, int64_t) {
  fail(kMissing);
}

std::shared_ptr<const TokenizerModel> load_sentencepiece(std::string_view) { fail(kMissing); }

#endif

}  // namespace tessera
