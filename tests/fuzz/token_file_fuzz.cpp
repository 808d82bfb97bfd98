// Whatever the bytes, the reader of token files either throws an Error or gives tokens that all lie inside the file.
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "framework/data/token_file.h"
#include "kernels/common/error.h"

namespace {

void parse(const std::string& file) {
  try {
    const tessera::TokenFile parsed = tessera::parse_token_file(std::as_bytes(std::span(file)), nullptr, "fuzz");
    std::vector<int32_t> tokens(static_cast<size_t>(parsed.tokens.size()));
    parsed.tokens.copy(0, tokens);
    const tessera::TokenSurvey survey = parsed.tokens.survey(parsed.vocab_size);
    if (survey.first_beyond >= parsed.tokens.size()) std::abort();
    const int64_t end = parsed.first_byte + parsed.tokens.size() * parsed.bytes_per_token;
    if (end > static_cast<int64_t>(file.size())) std::abort();
  } catch (const tessera::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  const std::string text(reinterpret_cast<const char*>(input), size);
  parse(text);
  // The first bytes as a header of the right length, the others as what follows it.
  constexpr size_t kFields = 28, kHeader = 1024;
  if (size < kFields) return 0;
  parse(text.substr(0, kFields) + std::string(kHeader - kFields, '\0') + text.substr(kFields));
  return 0;
}
