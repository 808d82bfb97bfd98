#include "framework/data/token_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "kernels/common/error.h"
#include "kernels/common/philox.h"

namespace tessera {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are read in place");

constexpr size_t kHeaderBytes = 1024;
constexpr std::string_view kLlmqMagic = "BIN.TOK\n";
constexpr int32_t kGpt2Magic = 20240520, kLlama3Magic = 20240801;
constexpr int64_t kGpt2Vocabulary = 50257, kLlama3Vocabulary = 128256;
constexpr int64_t kMostIds = int64_t{1} << 31;
// What helps against a damaged token file.
constexpr const char* kAgain = "tokenize the data again";

enum class Format { raw, gpt2, llama3, llmq };

Format format_of(std::span<const std::byte> file) {
  std::array<int32_t, 2> head{};
  if (file.size() < sizeof(head)) return Format::raw;
  std::memcpy(head.data(), file.data(), sizeof(head));
  if (std::memcmp(head.data(), kLlmqMagic.data(), kLlmqMagic.size()) == 0) return Format::llmq;
  if (head[0] == kGpt2Magic) return Format::gpt2;
  return head[0] == kLlama3Magic ? Format::llama3 : Format::raw;
}

/// The bytes as ids of one width. A mapping begins at a page and headers have 1024 bytes, so they are aligned.
template <class Id>
TokenSource ids_of(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) {
  const std::span ids(reinterpret_cast<const Id*>(bytes.data()), bytes.size() / sizeof(Id));
  return {TokenSource::Ids(ids), std::move(owner)};
}

using Header = std::array<int32_t, kHeaderBytes / sizeof(int32_t)>;

Header header_of(std::span<const std::byte> file, std::string_view name) {
  expect(file.size() >= kHeaderBytes, "{}: the header of this token file takes {} bytes, but the file has {}", name,
         kHeaderBytes, file.size());
  Header header;
  std::memcpy(header.data(), file.data(), kHeaderBytes);
  return header;
}

void expect_size(std::string_view name, std::span<const std::byte> file, int64_t tokens, int64_t wanted) {
  expect(tokens >= 0, "{}: the header counts {} tokens", name, tokens);
  expect(static_cast<int64_t>(file.size()) == wanted,
         "{}: {} tokens take {} bytes with their header, but the file has {}", name, tokens, wanted, file.size());
}

TokenFile parse_raw(std::span<const std::byte> file, std::shared_ptr<const void> owner, std::string_view name) {
  expect(file.size() % 2 == 0, "{}: {} bytes are no whole number of uint16 tokens", name, file.size());
  TokenFile result{.tokens = ids_of<uint16_t>(file, std::move(owner)), .bytes_per_token = 2, .notices = {}};
  result.notices = {
      fmt::format("{}: has no header, so it is read as raw uint16 tokens: {}", name, result.tokens.size())};
  return result;
}

TokenFile parse_llm_c(std::span<const std::byte> file, std::shared_ptr<const void> owner, std::string_view name) {
  const Header header = header_of(file, name);
  const bool gpt2 = header[0] == kGpt2Magic;
  const int32_t version = gpt2 ? 1 : 7;
  expect(header[1] == version, "{}: a token file of magic {} has version {}, but this one has {}", name, header[0],
         version, header[1]);
  const int64_t tokens = header[2], width = gpt2 ? 2 : 4;
  expect_size(name, file, tokens, static_cast<int64_t>(kHeaderBytes) + tokens * width);
  const auto ids = file.subspan(kHeaderBytes);
  return {.tokens = gpt2 ? ids_of<uint16_t>(ids, std::move(owner)) : ids_of<uint32_t>(ids, std::move(owner)),
          .vocab_size = gpt2 ? kGpt2Vocabulary : kLlama3Vocabulary,
          .first_byte = kHeaderBytes,
          .bytes_per_token = width,
          .notices = {}};
}

TokenFile parse_llmq(std::span<const std::byte> file, std::shared_ptr<const void> owner, std::string_view name) {
  const Header header = header_of(file, name);
  const int32_t version = header[2], width = header[3], masks = header[6];
  const int64_t tokens = header[4], vocab_size = version == 1 ? 0 : header[5];
  expect(version == 1 || version == 2, "{}: a BIN.TOK file of version {} is not known; 1 and 2 are", name, version);
  expect(width == 4, "{}: a BIN.TOK file has 4 bytes per token, but this one says {}", name, width);
  expect(vocab_size >= 0, "{}: the header says a vocabulary of {}", name, vocab_size);
  const int64_t mask_bytes = masks == 1 ? (tokens + 7) / 8 : 0;
  expect_size(name, file, tokens, static_cast<int64_t>(kHeaderBytes) + 4 * tokens + mask_bytes);
  // The ids are int32; read as uint32 a negative one lies beyond every vocabulary.
  const auto ids = file.subspan(kHeaderBytes, 4 * static_cast<size_t>(tokens));
  TokenFile result{.tokens = ids_of<uint32_t>(ids, std::move(owner)),
                   .vocab_size = vocab_size,
                   .first_byte = kHeaderBytes,
                   .bytes_per_token = 4,
                   .notices = {}};
  if (masks == 1) result.notices = {fmt::format("{}: its loss masks are not used; every token is a target", name)};
  return result;
}

TokenFile parse(std::span<const std::byte> file, std::shared_ptr<const void> owner, std::string_view name) {
  switch (format_of(file)) {
    case Format::gpt2:
    case Format::llama3: return parse_llm_c(file, std::move(owner), name);
    case Format::llmq: return parse_llmq(file, std::move(owner), name);
    case Format::raw: break;
  }
  return parse_raw(file, std::move(owner), name);
}

/// The vocabulary of a set of files: given, or the largest that a header names; 0 if none does.
int64_t common_vocabulary(std::span<const TokenFile> files, int64_t given) {
  if (given > 0) return given;
  int64_t largest = 0;
  for (const TokenFile& file : files) {
    if (file.vocab_size == 0) return 0;
    largest = std::max(largest, file.vocab_size);
  }
  return largest;
}

/// Looks at every id of a file.
TokenSurvey checked_survey(const TokenFile& file, const std::string& name, int64_t vocab_size) {
  const TokenSurvey survey = file.tokens.survey(vocab_size > 0 ? vocab_size : kMostIds);
  if (survey.first_beyond < 0) return survey;
  int32_t id = 0;
  file.tokens.copy(survey.first_beyond, std::span(&id, 1));
  const int64_t offset = file.first_byte + survey.first_beyond * file.bytes_per_token;
  if (vocab_size == 0)
    fail("{}: token {}, at byte {}, is {}, which is no token id; {}", name, survey.first_beyond, offset, id, kAgain);
  fail("{}: token {}, at byte {}, is {}, outside of the vocabulary of {}; set vocab_size, or {}", name,
       survey.first_beyond, offset, id, vocab_size, kAgain);
}

/// Whether a word of the file's name begins with "val" or "eval": fineweb_val_000000.bin does, medieval.bin does not.
bool is_validation(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  for (const std::string_view word : {"val", "eval"}) {
    for (size_t at = name.find(word); at != name.npos; at = name.find(word, at + 1)) {
      if (at == 0 || std::isalpha(static_cast<unsigned char>(name[at - 1])) == 0) return true;
    }
  }
  return false;
}

}  // namespace

TokenFile parse_token_file(std::span<const std::byte> file, std::shared_ptr<const void> owner, std::string_view name) {
  try {
    return parse(file, std::move(owner), name);
  } catch (const Error& failure) {
    fail("{}; {}", failure.what(), kAgain);
  }
}

TokenFile open_token_file(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  return parse_token_file(file.bytes(), file.owner(), path.string());
}

bool is_token_file(const std::filesystem::path& path) {
  return path.extension() == ".bin" || format_of(MappedFile::open(path).bytes()) != Format::raw;
}

TokenSplit open_token_files(std::span<const std::filesystem::path> paths, int64_t vocab_size) {
  std::vector<TokenFile> files;
  for (const auto& path : paths) files.push_back(open_token_file(path));
  TokenSplit split{.train = {}, .validation = {}, .notices = {}};
  split.vocab_size = common_vocabulary(files, vocab_size);
  uint32_t largest = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    const TokenSurvey survey = checked_survey(files[i], paths[i].string(), split.vocab_size);
    largest = std::max(largest, survey.largest);
    split.fingerprint = mix(split.fingerprint, survey.fingerprint);
    std::ranges::move(files[i].notices, std::back_inserter(split.notices));
    (is_validation(paths[i]) ? split.validation : split.train).append(files[i].tokens);
  }
  if (split.vocab_size == 0) {
    split.vocab_size = int64_t{largest} + 1;
    split.notices.push_back(
        fmt::format("{}: the vocabulary is not known; the largest token makes it {} (set vocab_size)",
                    paths[0].string(), split.vocab_size));
  }
  if (split.train.size() > 0 && split.validation.size() > 0) return split;
  split.train.append(split.validation);
  const int64_t border = validation_begin(split.train.size());
  split.validation = split.train.slice(border, split.train.size());
  split.train = split.train.slice(0, border);
  return split;
}

}  // namespace tessera
