// Subword vocabularies by SentencePiece (Kudo and Richardson, EMNLP 2018, arXiv:1808.06226): byte-pair merges, no
// normalisation, unknown characters spelled in bytes, so that every text comes back unchanged (except that U+2581,
// which SentencePiece writes for a blank, comes back as one). Training takes one thread and no chance: it is
// reproducible. Where SentencePiece is not built in, both functions throw, naming the package that brings it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "framework/data/tokenizer.h"

namespace tessera {

/// A vocabulary of at most `vocab_size` pieces, trained on the lines of the texts (about 16 MB of them, spread evenly,
/// where there are more).
std::shared_ptr<const TokenizerModel> train_sentencepiece(std::span<const std::string_view> texts, int64_t vocab_size);

/// The tokenizer of a trained model's bytes in base64 (RFC 4648, section 4), as its to_json holds them.
std::shared_ptr<const TokenizerModel> load_sentencepiece(std::string_view base64);

}  // namespace tessera
