#include "trainers/sampler.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "framework/parameters/arena.h"

namespace tessera {
namespace {

// Probabilities 0.1, 0.4, 0.2, 0.3 at temperature 1.
const std::vector<float> kLogits = {std::log(0.1F), std::log(0.4F), std::log(0.2F), std::log(0.3F)};

SamplingOptions plain() { return {.temperature = 1, .top_k = 0}; }

// The share of a fine grid of random numbers that selects each token.
std::vector<double> shares(const SamplingOptions& options) {
  constexpr int kGrid = 10000;
  std::vector<double> share(kLogits.size());
  for (int i = 0; i < kGrid; ++i)
    share[static_cast<size_t>(pick_token(kLogits, options, (i + 0.5) / kGrid))] += 1.0 / kGrid;
  return share;
}

void expect_shares(const SamplingOptions& options, const std::vector<double>& wanted) {
  const std::vector<double> got = shares(options);
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 2e-4) << "token " << i;
}

TEST(PickToken, FollowsTheProbabilities) { expect_shares(plain(), {0.1, 0.4, 0.2, 0.3}); }

TEST(PickToken, TemperatureSharpensAndZeroTakesTheLikeliest) {
  SamplingOptions options = plain();
  options.temperature = 0.5;  // squares the probabilities
  expect_shares(options, {0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3});
  options.temperature = 0;
  expect_shares(options, {0, 1, 0, 0});
}

TEST(PickToken, TopKAndTopPLeaveOutTheUnlikely) {
  SamplingOptions options = plain();
  options.top_k = 2;
  expect_shares(options, {0, 0.4 / 0.7, 0, 0.3 / 0.7});
  options.top_k = 100;
  expect_shares(options, {0.1, 0.4, 0.2, 0.3});
  options.top_p = 0.65;
  expect_shares(options, {0, 0.4 / 0.7, 0, 0.3 / 0.7});
  options.top_p = 0.01;
  expect_shares(options, {0, 1, 0, 0});
  options.top_k = 3;
  options.top_p = 0.5;  // of what top_k left: 4/9, 3/9, 2/9
  expect_shares(options, {0, 4.0 / 7, 0, 3.0 / 7});
}

TEST(PickToken, TiesGoToTheFirst) {
  EXPECT_EQ(pick_token(std::vector<float>{1, 2, 2, 0}, {.temperature = 0}, 0.9), 1);
  EXPECT_EQ(pick_token(std::vector<float>{2, 2, 2, 0}, {.temperature = 1, .top_k = 1}, 0.9), 0);
}

class Generate : public ::testing::Test {
 protected:
  static LanguageModel::Options options() {
    return {.vocab_size = 11, .block_size = 8, .n_layer = 2, .n_head = 2, .n_embd = 16};
  }

  LanguageModel model_{options()};
  ParameterArena arena_{model_, {.seed = 3}};
  const std::vector<int32_t> prompt_ = {1, 2, 3};
};

TEST_F(Generate, TheCacheChangesNoTokenOfABlock) {
  SamplingOptions options{.max_new_tokens = 6};  // with the prompt, more than a block by one
  const std::vector<int32_t> text = generate(model_, prompt_, options);
  options.use_cache = false;
  EXPECT_EQ(text, generate(model_, prompt_, options));
}

TEST_F(Generate, GoesOnBeyondTheBlock) {
  const std::vector<int32_t> text = generate(model_, prompt_, {.max_new_tokens = 30});
  EXPECT_EQ(text.size(), 30U);
  for (const int32_t token : text) EXPECT_TRUE(token >= 0 && token < 11);
}

TEST_F(Generate, SeedAndSampleNumberDecide) {
  const SamplingOptions one{.max_new_tokens = 12, .temperature = 2, .seed = 1};
  SamplingOptions other = one;
  other.seed = 2;
  const std::set<std::vector<int32_t>> different{generate(model_, prompt_, one), generate(model_, prompt_, one, 1),
                                                 generate(model_, prompt_, other)};
  EXPECT_EQ(different.size(), 3U);
  EXPECT_EQ(generate(model_, prompt_, one, 1), generate(model_, prompt_, one, 1));
}

TEST_F(Generate, TellsEachTokenAsItComes) {
  std::vector<int32_t> heard;
  const std::vector<int32_t> text =
      generate(model_, prompt_, {.max_new_tokens = 5}, 0, [&](int32_t token) { heard.push_back(token); });
  EXPECT_EQ(heard, text);
}

TEST_F(Generate, DrawsOnlyTokensOfTheVocabulary) {
  const std::vector<int32_t> all = generate(model_, prompt_, {.max_new_tokens = 60, .temperature = 100});
  EXPECT_GT(std::ranges::max(all), 3);
  for (const SamplingOptions& options :
       {SamplingOptions{.max_new_tokens = 60, .temperature = 100, .vocab_size = 4},
        SamplingOptions{.max_new_tokens = 60, .temperature = 0, .vocab_size = 4},
        SamplingOptions{.max_new_tokens = 60, .top_k = 1, .vocab_size = 4, .use_cache = false}}) {
    for (const int32_t token : generate(model_, prompt_, options)) EXPECT_LT(token, 4);
  }
}

TEST_F(Generate, APromptIsNeeded) { EXPECT_ANY_THROW(generate(model_, {}, {})); }

}  // namespace
}  // namespace tessera
