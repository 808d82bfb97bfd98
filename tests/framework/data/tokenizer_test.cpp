#include "framework/data/tokenizer.h"

#include <array>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Tokenizer built(std::string_view specification, std::string_view text) {
  return Tokenizer::build(specification, std::array{text});
}

/// The same tokenizer after a round trip through JSON text.
Tokenizer reloaded(const Tokenizer& tokenizer) {
  return Tokenizer::from_json(nlohmann::json::parse(tokenizer.to_json().dump()));
}

TEST(Tokenizer, CharactersAreSortedCodePoints) {
  const Tokenizer tokenizer = built("char", "zé€a\n\U0001F600z");
  EXPECT_EQ(tokenizer.vocab_size(), 6);
  EXPECT_THAT(tokenizer.encode("\naz\u00e9€\U0001F600"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("€a\n")), "€a\n");
  EXPECT_EQ(tokenizer.describe(), "6 characters");
  EXPECT_EQ(tokenizer.to_json().dump(), R"({"kind":"char","symbols":["\n","a","z","é","€","😀"]})");
  EXPECT_THAT(tokenizer.encode(""), IsEmpty());
}

TEST(Tokenizer, CharactersOfSeveralTextsAreOneVocabulary) {
  const std::array<std::string_view, 2> texts{"ba", "cb"};
  EXPECT_THAT(Tokenizer::characters(texts).encode("abc"), ElementsAre(0, 1, 2));
}

TEST(Tokenizer, NamesTheCharacterThatIsNotInTheVocabulary) {
  const Tokenizer tokenizer = built("char", "abé");
  EXPECT_EQ(message_of([&] { tokenizer.encode("abé€", {.name = "input.txt", .offset = 100}); }),
            "input.txt: the character '€' (U+20AC) at byte 104 is not in the vocabulary of 3 characters; leave it out");
  EXPECT_THAT(message_of([&] { tokenizer.encode("a\n"); }), HasSubstr("the text: the character U+000A at byte 1"));
  EXPECT_THAT(message_of([&] { tokenizer.encode("a\xff"); }), HasSubstr("the byte 0xff at byte 1"));
  EXPECT_THAT(message_of([&] { tokenizer.encode("\xc3"); }), HasSubstr("the byte 0xc3 at byte 0"));
  EXPECT_THAT(message_of([&] { tokenizer.decode(std::array{0, 3}); }), HasSubstr("the token 3 is outside"));
  EXPECT_THAT(message_of([&] { tokenizer.decode(std::array{-1}); }), HasSubstr("the token -1 is outside"));
}

TEST(Tokenizer, BytesTakeAnything) {
  const Tokenizer tokenizer = built("byte", "");
  EXPECT_EQ(tokenizer.vocab_size(), 256);
  EXPECT_THAT(tokenizer.encode("a\xffé"), ElementsAre(97, 255, 0xc3, 0xa9));
  EXPECT_EQ(tokenizer.decode(std::array{97, 255, 0xc3, 0xa9, 0xc3}), "a\uFFFDé\uFFFD");
  EXPECT_THAT(message_of([&] { tokenizer.decode(std::array{256}); }), HasSubstr("256 is not a byte"));
}

TEST(Tokenizer, SymbolsTakeTheLongestThatFits) {
  const Tokenizer tokenizer = Tokenizer::symbols({"1", "12", "+", "=", "123"});
  EXPECT_THAT(tokenizer.encode("12+1=1231212"), ElementsAre(1, 2, 0, 3, 4, 1, 1));
  EXPECT_EQ(tokenizer.decode(std::array{1, 2, 4}), "12+123");
  EXPECT_THAT(message_of([&] { tokenizer.encode("12-"); }), HasSubstr("'-' (U+002D) at byte 2"));
}

TEST(Tokenizer, IdsAreNumbers) {
  const Tokenizer tokenizer = Tokenizer::ids(50257);
  EXPECT_THAT(tokenizer.encode(" 15 496\n50256 "), ElementsAre(15, 496, 50256));
  EXPECT_EQ(tokenizer.decode(std::array{15, 496}), "15 496");
  EXPECT_THAT(message_of([&] { tokenizer.encode("15 50257"); }),
              HasSubstr("'50257' at byte 3 is not a token below 50257"));
  EXPECT_THAT(message_of([&] { tokenizer.encode("hello"); }), HasSubstr("'hello' at byte 0"));
  EXPECT_THAT(message_of([&] { tokenizer.encode("-1"); }), HasSubstr("'-1'"));
  EXPECT_THAT(message_of([&] { tokenizer.encode("7x"); }), HasSubstr("'7x'"));
}

TEST(Tokenizer, SurvivesJson) {
  for (const Tokenizer& tokenizer :
       {built("char", "héllo \"wörld\"\n"), built("byte", ""), Tokenizer::ids(7), Tokenizer::symbols({"a", "bc"})}) {
    const Tokenizer again = reloaded(tokenizer);
    EXPECT_EQ(again.to_json(), tokenizer.to_json());
    EXPECT_EQ(again.kind(), tokenizer.kind());
    EXPECT_EQ(again.vocab_size(), tokenizer.vocab_size());
    EXPECT_EQ(again.decode(std::array{0, 1}), tokenizer.decode(std::array{0, 1}));
  }
}

TEST(Tokenizer, RefusesDamagedJson) {
  const auto error_of = [](const char* json) {
    return message_of([&] { Tokenizer::from_json(nlohmann::json::parse(json)); });
  };
  EXPECT_THAT(error_of("{}"), HasSubstr("tokenizer: the saved tokenizer is damaged"));
  EXPECT_THAT(error_of("[]"), HasSubstr("damaged"));
  EXPECT_THAT(error_of(R"({"kind":"wordpiece"})"), HasSubstr("'wordpiece' is not known"));
  EXPECT_THAT(error_of(R"({"kind":"char","symbols":[1]})"), HasSubstr("damaged"));
  EXPECT_THAT(error_of(R"({"kind":"char","symbols":[]})"), HasSubstr("at least one symbol"));
  EXPECT_THAT(error_of(R"({"kind":"char","symbols":["a","a"]})"), HasSubstr("symbol 1 of the vocabulary"));
  EXPECT_THAT(error_of(R"({"kind":"char","symbols":[""]})"), HasSubstr("symbol 0 of the vocabulary"));
  EXPECT_THAT(error_of(R"({"kind":"ids","vocab_size":-3})"), HasSubstr("vocab_size"));
}

TEST(Tokenizer, RefusesUnknownWords) {
  for (const char* word : {"", "chars", "sentencepiece", "sentencepiece:", "sentencepiece:12x", "sentencepiece:299",
                           "sentencepiece:-1", "sentencepiece:1000001", "sentencepiece:99999999999999999999"}) {
    EXPECT_THAT(message_of([&] { built(word, "text"); }), HasSubstr("use char, byte or sentencepiece:SIZE")) << word;
  }
  EXPECT_THAT(message_of([&] { built("char", "\xff"); }), HasSubstr("not UTF-8"));
  EXPECT_THAT(message_of([&] { built("char", ""); }), HasSubstr("at least one symbol"));
}

#if TESSERA_WITH_SENTENCEPIECE
std::string english() {
  std::string text;
  for (int i = 0; i < 60; ++i) {
    text += "The quick brown fox number " + std::to_string(i) + " jumps over the lazy dog,  twice.\n";
    text += "\tIndented, with a \"quotation\" & caf\u00e9.\r\n\n";
  }
  return text;
}

TEST(SentencePiece, GivesEveryTextBack) {
  const std::string text = english();
  const Tokenizer tokenizer = built("sentencepiece:400", text);
  EXPECT_LE(tokenizer.vocab_size(), 400);
  const std::vector<int32_t> tokens = tokenizer.encode(text);
  EXPECT_LT(tokens.size(), text.size() / 2);
  EXPECT_EQ(tokenizer.decode(tokens), text);
  for (const std::string_view other :
       {"", "\n", "\n\n x", " leading and trailing ", "unseen: \u4f60\u597d \U0001F600 ~"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(other)), other);
  }
  const std::string endless(20'000, 'a');
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(endless)), endless);
}

TEST(SentencePiece, IsReproducibleAndSurvivesJson) {
  const Tokenizer tokenizer = built("sentencepiece:350", english());
  EXPECT_EQ(built("sentencepiece:350", english()).to_json(), tokenizer.to_json());
  const Tokenizer again = reloaded(tokenizer);
  EXPECT_EQ(again.encode(english()), tokenizer.encode(english()));
  EXPECT_THAT(message_of([&] { tokenizer.decode(std::array{400}); }), HasSubstr("400 is outside"));
  EXPECT_THAT(message_of([&] { tokenizer.encode("\xff"); }), HasSubstr("not UTF-8 at byte 0"));
  EXPECT_THAT(message_of([] {
                Tokenizer::from_json({{"kind", "sentencepiece"}, {"model", "AAAA"}});
              }),
              HasSubstr("damaged"));
}

TEST(SentencePiece, SaysHowManyPiecesATextOfManyCharactersTakes) {
  std::string text;
  for (int point = 0; point < 3000; ++point) {  // from U+4E00 on
    const int code = 0x4e00 + point;
    for (const int byte : {0xe0 | code >> 12, 0x80 | (code >> 6 & 0x3f), 0x80 | (code & 0x3f)})
      text += static_cast<char>(byte);
  }
  EXPECT_EQ(message_of([&] { built("sentencepiece:300", text); }),
            "tokenizer: 300 pieces are too few for the 3000 different characters of this text; set tokenizer = "
            "sentencepiece:3258 or more, or tokenizer = byte");
  EXPECT_EQ(built("sentencepiece:3258", text).vocab_size(), 3258);
}
#endif

}  // namespace
}  // namespace tessera
