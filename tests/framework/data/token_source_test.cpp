#include "framework/data/token_source.h"

#include <array>
#include <numeric>

#include <gmock/gmock.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Three widths as one stream: 1 2 3 | 500 501 | 70000 70001 70002.
TokenSource mixed() {
  TokenSource tokens = TokenSource::of(std::vector<uint8_t>{1, 2, 3});
  tokens.append(TokenSource::of(std::vector<uint16_t>{500, 501}));
  tokens.append(TokenSource());
  tokens.append(TokenSource::of(std::vector<uint32_t>{70000, 70001, 70002}));
  return tokens;
}

std::vector<int32_t> read(const TokenSource& tokens, int64_t begin, size_t count) {
  std::vector<int32_t> out(count);
  tokens.copy(begin, out);
  return out;
}

TEST(TokenSource, CopiesAcrossItsParts) {
  const TokenSource tokens = mixed();
  EXPECT_EQ(tokens.size(), 8);
  EXPECT_THAT(read(tokens, 0, 8), ElementsAre(1, 2, 3, 500, 501, 70000, 70001, 70002));
  for (int64_t begin = 0; begin < 8; ++begin) {
    const std::vector<int32_t> all = read(tokens, 0, 8);
    for (int64_t end = begin; end <= 8; ++end) {
      EXPECT_EQ(read(tokens, begin, static_cast<size_t>(end - begin)),
                std::vector<int32_t>(&all[0] + begin, &all[0] + end));
    }
  }
  EXPECT_THAT(read(tokens, 8, 0), ElementsAre());
}

TEST(TokenSource, SlicesShareTheTokens) {
  const TokenSource slice = mixed().slice(2, 7);
  EXPECT_EQ(slice.size(), 5);
  EXPECT_THAT(read(slice, 0, 5), ElementsAre(3, 500, 501, 70000, 70001));
  EXPECT_THAT(read(slice.slice(1, 3), 0, 2), ElementsAre(500, 501));
  EXPECT_EQ(mixed().slice(4, 4).size(), 0);
}

TEST(TokenSource, RefusesWhatIsNotThere) {
  const TokenSource tokens = mixed();
  EXPECT_THAT(message_of([&] { read(tokens, 5, 4); }), HasSubstr("4 tokens from 5 are wanted, but there are 8"));
  EXPECT_THROW(read(tokens, -1, 1), Error);
  EXPECT_THROW(tokens.slice(3, 9), Error);
  EXPECT_THROW(tokens.slice(3, 2), Error);
  EXPECT_THROW(read(TokenSource(), 0, 1), Error);
}

TEST(TokenSource, SurveyFindsTheLargestAndTheFirstBeyond) {
  const TokenSource tokens = mixed();
  EXPECT_EQ(tokens.survey(0).largest, 70002u);
  EXPECT_EQ(tokens.survey(0).first_beyond, -1);
  EXPECT_EQ(tokens.survey(70003).first_beyond, -1);
  EXPECT_EQ(tokens.survey(70002).first_beyond, 7);
  EXPECT_EQ(tokens.survey(501).first_beyond, 4);
  EXPECT_EQ(tokens.survey(3).first_beyond, 2);
  EXPECT_EQ(TokenSource::of(std::vector<uint32_t>{1, 0xffffffffu}).survey(int64_t{1} << 31).first_beyond, 1);
}

TEST(TokenSource, FingerprintFollowsContentNotWidth) {
  std::vector<uint16_t> narrow(3'000'001);
  std::iota(narrow.begin(), narrow.end(), uint16_t{0});
  const std::vector<uint32_t> wide(narrow.begin(), narrow.end());
  const uint64_t fingerprint = TokenSource::of(narrow).survey(0).fingerprint;
  EXPECT_EQ(TokenSource::of(wide).survey(0).fingerprint, fingerprint);
  for (const size_t at : {size_t{0}, size_t{1'500'000}, narrow.size() - 1}) {
    std::vector<uint16_t> changed = narrow;
    changed[at] ^= 1;
    EXPECT_NE(TokenSource::of(changed).survey(0).fingerprint, fingerprint);
  }
  std::swap(narrow[10], narrow[14]);
  EXPECT_NE(TokenSource::of(narrow).survey(0).fingerprint, fingerprint);
  narrow.pop_back();
  EXPECT_NE(TokenSource::of(narrow).survey(0).fingerprint, fingerprint);
  EXPECT_NE(TokenSource::of(std::vector<uint8_t>{0}).survey(0).fingerprint,
            TokenSource::of(std::vector<uint8_t>{0, 0}).survey(0).fingerprint);
}

}  // namespace
}  // namespace tessera
