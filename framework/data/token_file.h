// Files of tokens made by other programs, mapped, never copied. Recognised by their first bytes:
//   llm.c       magic 20240520, version 1: a header of 256 int32 {magic, version, tokens}, then uint16 (GPT-2)
//               magic 20240801, version 7: the same header, then uint32 (Llama 3)
//   llmq        "BIN.TOK\n", version 1 or 2: a header of 256 int32 {8 bytes, version, bytes per token, tokens,
//   vocabulary,
//               has masks}, then int32, then one bit per token where there are masks
//   otherwise   nanoGPT: uint16 from the first byte to the last
// Everything is little-endian.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/data/token_source.h"
#include "framework/io/mapped_file.h"

namespace tessera {

/// A file of tokens. Its ids have not been looked at.
struct TokenFile {
  TokenSource tokens;
  int64_t vocab_size = 0;  ///< what the format or the header says; 0: nothing
  int64_t first_byte = 0;  ///< where the tokens begin
  int64_t bytes_per_token = 0;
  std::vector<std::string> notices;
};

/// Reads a whole file image that `owner` keeps alive; `name` is what errors call it. Errors: a version that is not
/// known, a count that is negative or disagrees with the size of the file, half a token.
TokenFile parse_token_file(std::span<const std::byte> file, std::shared_ptr<const void> owner, std::string_view name);

/// Maps and parses. Errors: those of MappedFile::open and parse_token_file.
TokenFile open_token_file(const std::filesystem::path& path);

/// Whether a path is taken for tokens: a name that ends in .bin, or one of the magics.
bool is_token_file(const std::filesystem::path& path);

/// The tokens to train and to validate on.
struct TokenSplit {
  TokenSource train, validation;
  int64_t vocab_size = 0;    ///< every id is below it
  uint64_t fingerprint = 0;  ///< a hash of all ids
  std::vector<std::string> notices;
};

/// Opens token files and checks every id. Files with a word that begins with "val" or "eval" in their names are the
/// validation part if there are others beside them; otherwise the last tenth of the tokens is. A vocabulary of 0 means
/// what the files say, else the largest id plus one. Error: an id outside of the vocabulary, with its file, offset and
/// value.
TokenSplit open_token_files(std::span<const std::filesystem::path> paths, int64_t vocab_size);

/// Where the validation part of `tokens` tokens begins: nine tenths.
inline int64_t validation_begin(int64_t tokens) { return tokens / 10 * 9 + tokens % 10 * 9 / 10; }

}  // namespace tessera
