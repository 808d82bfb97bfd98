#include "framework/data/token_file.h"

#include <array>
#include <cstring>

#include <gmock/gmock.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// A header of 256 int32 that begins with the given ones.
std::string header(std::vector<int32_t> values) {
  values.resize(256);
  return bytes_of(values);
}

std::string llmq_header(std::vector<int32_t> values) {
  std::string bytes = "BIN.TOK\n" + bytes_of(values);
  bytes.resize(1024);
  return bytes;
}

std::vector<int32_t> all(const TokenSource& tokens) {
  std::vector<int32_t> out(static_cast<size_t>(tokens.size()));
  tokens.copy(0, out);
  return out;
}

class TokenFiles : public testing::Test {
 protected:
  std::string error_of(const std::string& content) {
    const auto path = folder.write("f.bin", content);
    const std::string message = message_of([&] { open_token_file(path); });
    EXPECT_THAT(message, testing::StartsWith(path.string() + ": "));
    return message;
  }
  TokenSplit split(std::vector<std::string> names, int64_t vocab_size = 0) {
    std::vector<std::filesystem::path> paths;
    for (const std::string& name : names) paths.push_back(folder / name);
    return open_token_files(paths, vocab_size);
  }
  TemporaryFolder folder;
};

TEST_F(TokenFiles, ReadsLlmC) {
  const TokenFile gpt2 =
      open_token_file(folder.write("a.bin", header({20240520, 1, 3}) + bytes_of<uint16_t>({50256, 0, 7})));
  EXPECT_THAT(all(gpt2.tokens), ElementsAre(50256, 0, 7));
  EXPECT_EQ(gpt2.vocab_size, 50257);
  EXPECT_THAT(gpt2.notices, IsEmpty());
  const TokenFile llama =
      open_token_file(folder.write("b.bin", header({20240801, 7, 2}) + bytes_of<uint32_t>({128000, 1})));
  EXPECT_THAT(all(llama.tokens), ElementsAre(128000, 1));
  EXPECT_EQ(llama.vocab_size, 128256);
}

TEST_F(TokenFiles, ReadsLlmq) {
  const std::string ids = bytes_of<int32_t>({5, 151000, 6});
  const TokenFile plain = open_token_file(folder.write("a.bin", llmq_header({2, 4, 3, 151936, 0}) + ids));
  EXPECT_THAT(all(plain.tokens), ElementsAre(5, 151000, 6));
  EXPECT_EQ(plain.vocab_size, 151936);
  EXPECT_THAT(plain.notices, IsEmpty());
  const TokenFile masked = open_token_file(folder.write("b.bin", llmq_header({2, 4, 3, 151936, 1}) + ids + "\x05"));
  EXPECT_THAT(all(masked.tokens), ElementsAre(5, 151000, 6));
  EXPECT_THAT(masked.notices, ElementsAre(HasSubstr("loss masks are not used")));
  EXPECT_EQ(open_token_file(folder.write("c.bin", llmq_header({1, 4, 3}) + ids)).vocab_size, 0);
}

TEST_F(TokenFiles, ReadsAnythingElseAsRawUint16AndSaysSo) {
  const auto path = folder.write("train.bin", bytes_of<uint16_t>({1, 2, 65535}));
  const TokenFile file = open_token_file(path);
  EXPECT_THAT(all(file.tokens), ElementsAre(1, 2, 65535));
  EXPECT_EQ(file.vocab_size, 0);
  EXPECT_THAT(file.notices, ElementsAre(path.string() + ": has no header, so it is read as raw uint16 tokens: 3"));
  EXPECT_EQ(open_token_file(folder.write("empty.bin", "")).tokens.size(), 0);
}

TEST_F(TokenFiles, RefusesDamagedFiles) {
  EXPECT_THAT(error_of("abc"), HasSubstr("3 bytes are no whole number of uint16 tokens"));
  EXPECT_THAT(error_of(header({20240520, 1, 3}).substr(0, 100)), HasSubstr("takes 1024 bytes, but the file has 100"));
  EXPECT_THAT(error_of("BIN.TOK\n"), HasSubstr("takes 1024 bytes, but the file has 8"));
  EXPECT_THAT(error_of(header({20240520, 7, 0})), HasSubstr("has version 1, but this one has 7"));
  EXPECT_THAT(error_of(header({20240801, 1, 0})), HasSubstr("has version 7, but this one has 1"));
  EXPECT_THAT(error_of(header({20240520, 1, -3})), HasSubstr("counts -3 tokens"));
  EXPECT_THAT(error_of(header({20240520, 1, 3}) + "1234"),
              HasSubstr("3 tokens take 1030 bytes with their header, but the "
                        "file has 1028"));
  EXPECT_THAT(error_of(header({20240520, 1, 1}) + "1234"), HasSubstr("take 1026 bytes"));
  EXPECT_THAT(error_of(header({20240801, 7, 0x7fffffff}) + "1234"), HasSubstr("take 8589935612 bytes"));
  EXPECT_THAT(error_of(llmq_header({3, 4, 0, 10, 0})), HasSubstr("version 3 is not known"));
  EXPECT_THAT(error_of(llmq_header({2, 2, 0, 10, 0})), HasSubstr("but this one says 2"));
  EXPECT_THAT(error_of(llmq_header({2, 4, -1, 10, 0})), HasSubstr("counts -1 tokens"));
  EXPECT_THAT(error_of(llmq_header({2, 4, 0, -10, 0})), HasSubstr("vocabulary of -10"));
  EXPECT_THAT(error_of(llmq_header({2, 4, 1, 10, 1}) + "1234"), HasSubstr("take 1029 bytes"));
}

TEST_F(TokenFiles, RecognisesTokens) {
  EXPECT_TRUE(is_token_file(folder.write("a.bin", "anything")));
  EXPECT_TRUE(is_token_file(folder.write("a.tok", header({20240520, 1, 0}))));
  EXPECT_TRUE(is_token_file(folder.write("b.tok", "BIN.TOK\n")));
  EXPECT_FALSE(is_token_file(folder.write("a.txt", "plain text")));
  EXPECT_FALSE(is_token_file(folder.write("b.txt", "")));
}

TEST_F(TokenFiles, SplitsOneFileInNineTenthsAndOne) {
  folder.write("a.bin", bytes_of<uint16_t>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  const TokenSplit tokens = split({"a.bin"});
  EXPECT_THAT(all(tokens.train), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  EXPECT_THAT(all(tokens.validation), ElementsAre(10, 11));
  EXPECT_EQ(tokens.vocab_size, 12);
  EXPECT_THAT(tokens.notices, ElementsAre(HasSubstr("raw uint16"), HasSubstr("the largest token makes it 12")));
  EXPECT_EQ(validation_begin(1115394), 1003854);  // tiny shakespeare, as nanoGPT cuts it
}

TEST_F(TokenFiles, PairsTrainingAndValidationFilesByName) {
  folder.write("train.bin", bytes_of<uint16_t>({1, 2}));
  folder.write("val.bin", bytes_of<uint16_t>({9}));
  const TokenSplit tokens = split({"train.bin", "val.bin"});
  EXPECT_THAT(all(tokens.train), ElementsAre(1, 2));
  EXPECT_THAT(all(tokens.validation), ElementsAre(9));
  EXPECT_EQ(tokens.vocab_size, 10);

  folder.write("web_train_1.bin", header({20240520, 1, 1}) + bytes_of<uint16_t>({1}));
  folder.write("web_train_2.bin", header({20240520, 1, 2}) + bytes_of<uint16_t>({2, 3}));
  folder.write("web_val_0.bin", header({20240520, 1, 1}) + bytes_of<uint16_t>({4}));
  const TokenSplit shards = split({"web_train_1.bin", "web_train_2.bin", "web_val_0.bin"});
  EXPECT_THAT(all(shards.train), ElementsAre(1, 2, 3));
  EXPECT_THAT(all(shards.validation), ElementsAre(4));
  EXPECT_EQ(shards.vocab_size, 50257);
  EXPECT_NE(shards.fingerprint, split({"web_train_2.bin", "web_train_1.bin", "web_val_0.bin"}).fingerprint);

  folder.write("medieval.bin", bytes_of<uint16_t>({5}));
  EXPECT_THAT(all(split({"train.bin", "medieval.bin"}).train), ElementsAre(1, 2));
  EXPECT_THAT(all(split({"train.bin", "medieval.bin"}).validation), ElementsAre(5));  // the last tenth of three
}

TEST_F(TokenFiles, NamesTheTokenOutsideOfTheVocabulary) {
  const std::string good = folder.write("a.bin", bytes_of<uint16_t>({1, 2})).string();
  const std::string bad = folder.write("b.bin", header({20240520, 1, 3}) + bytes_of<uint16_t>({1, 50257, 2})).string();
  EXPECT_EQ(
      message_of([&] { split({"b.bin"}); }),
      bad +
          ": token 1, at byte 1026, is 50257, outside of the vocabulary of 50257; set vocab_size, or tokenize the "
          "data again");
  EXPECT_EQ(split({"b.bin"}, 50258).vocab_size, 50258);
  EXPECT_THAT(message_of([&] { split({"a.bin"}, 2); }), HasSubstr(good + ": token 1, at byte 2, is 2"));
  folder.write("c.bin", llmq_header({2, 4, 2, 0, 0}) + bytes_of<int32_t>({3, -1}));
  EXPECT_THAT(message_of([&] { split({"c.bin"}); }), HasSubstr("token 1, at byte 1028, is -1, which is no token id"));
}

}  // namespace
}  // namespace tessera
