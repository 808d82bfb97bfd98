#include "framework/data/utf8.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Utf8, MeasuresWellFormedCharacters) {
  EXPECT_EQ(character_length("a"), 1u);
  EXPECT_EQ(character_length("é!"), 2u);
  EXPECT_EQ(character_length("€"), 3u);
  EXPECT_EQ(character_length("\U0001F600"), 4u);
  EXPECT_EQ(character_length(std::string_view("\0", 1)), 1u);
  for (const std::string_view bad :
       {"", "\x80", "\xc3", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xef\xbf", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3("}) {
    EXPECT_EQ(character_length(bad), 0u) << bad;
  }
}

TEST(Utf8, ReadsCodePoints) {
  EXPECT_EQ(code_point_of("a"), 0x61u);
  EXPECT_EQ(code_point_of("é"), 0xe9u);
  EXPECT_EQ(code_point_of("€"), 0x20acu);
  EXPECT_EQ(code_point_of("\U0010FFFF"), 0x10ffffu);
}

TEST(Utf8, FindsTheFirstMalformedByte) {
  EXPECT_EQ(find_malformed("plain text, longer than a word, with é and €"), std::string_view::npos);
  for (size_t at = 0; at < 20; ++at) {
    std::string text(20, 'x');
    text[at] = '\xff';
    EXPECT_EQ(find_malformed(text), at);
  }
  EXPECT_EQ(find_malformed("1234567\xc3"), 7u);
}

TEST(Utf8, RepairsByteByByte) {
  EXPECT_EQ(repaired("a\xff\xfe é\xc3"), "a\uFFFD\uFFFD é\uFFFD");
  EXPECT_EQ(repaired(""), "");
}

TEST(Utf8, DescribesCharacters) {
  EXPECT_EQ(describe_character("é"), "'é' (U+00E9)");
  EXPECT_EQ(describe_character("\n"), "U+000A");
}

}  // namespace
}  // namespace tessera
