#include "framework/data/synthetic.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;

struct Sample {
  std::vector<int32_t> inputs, targets;
};

Sample sample_of(const SyntheticTask& task, Split split, int64_t number, int64_t length = 0) {
  const auto size = static_cast<size_t>(length > 0 ? length : task.block_size());
  Sample sample{std::vector<int32_t>(size), std::vector<int32_t>(size)};
  task.fill(split, number, sample.inputs, sample.targets);
  return sample;
}

/// The whole sample as text: the inputs and the last target.
std::string text_of(const SyntheticTask& task, const Sample& sample) {
  std::vector<int32_t> tokens = sample.inputs;
  if (sample.targets.back() >= 0) tokens.push_back(sample.targets.back());
  return task.tokenizer().decode(tokens);
}

TEST(SyntheticTask, CopyRepeatsThePrompt) {
  const SyntheticTask task("copy:5", 1);
  EXPECT_EQ(task.block_size(), 11);
  EXPECT_EQ(task.tokenizer().vocab_size(), 28);
  for (int64_t i = 0; i < 50; ++i) {
    const std::string text = text_of(task, sample_of(task, Split::train, i));
    EXPECT_THAT(text, MatchesRegex("[a-z]{5}=[a-z]{5}\n"));
    EXPECT_EQ(text.substr(0, 5), text.substr(6, 5));
  }
}

TEST(SyntheticTask, SortPutsTheDigitsInOrder) {
  const SyntheticTask task("sort", 1);
  EXPECT_EQ(task.name(), "sort:10");
  for (int64_t i = 0; i < 50; ++i) {
    const std::string text = text_of(task, sample_of(task, Split::validation, i));
    ASSERT_THAT(text, MatchesRegex("[0-9]{10}=[0-9]{10}\n"));
    std::string prompt = text.substr(0, 10);
    EXPECT_FALSE(std::ranges::is_sorted(prompt));
    std::ranges::sort(prompt);
    EXPECT_EQ(prompt, text.substr(11, 10));
  }
}

TEST(SyntheticTask, AdditionWritesTheSumFromItsLastDigit) {
  const SyntheticTask task("addition:3", 1);
  EXPECT_EQ(task.block_size(), 12);
  for (int64_t i = 0; i < 200; ++i) {
    const std::string text = text_of(task, sample_of(task, Split::train, i));
    ASSERT_THAT(text, MatchesRegex("[0-9]{3}\\+[0-9]{3}=[0-9]{4}\n"));
    std::string sum = text.substr(8, 4);
    std::ranges::reverse(sum);
    EXPECT_EQ(std::stoi(text.substr(0, 3)) + std::stoi(text.substr(4, 3)), std::stoi(sum)) << text;
  }
}

TEST(SyntheticTask, ModularAdditionHasOneTokenPerNumber) {
  const SyntheticTask task("modular_addition", 1);
  EXPECT_EQ(task.tokenizer().vocab_size(), 100);
  EXPECT_EQ(task.block_size(), 5);
  for (int64_t i = 0; i < 200; ++i) {
    const Sample sample = sample_of(task, Split::train, i);
    EXPECT_EQ((sample.inputs[0] + sample.inputs[2]) % 97, sample.inputs[4]);
    EXPECT_THAT(sample.targets, ElementsAre(-1, -1, -1, sample.inputs[4], 99));
    const std::string text = text_of(task, sample);
    EXPECT_THAT(text, MatchesRegex("[0-9]+\\+[0-9]+=[0-9]+\n"));
    EXPECT_THAT(task.tokenizer().encode(text).size(), 6u);
  }
}

TEST(SyntheticTask, OnlyTheAnswerHasTargets) {
  const SyntheticTask task("copy:3", 1);
  const Sample sample = sample_of(task, Split::train, 5, 10);
  EXPECT_THAT(std::span(sample.targets).first(3), Each(-1));
  for (size_t i = 3; i < 6; ++i) EXPECT_EQ(sample.targets[i], sample.inputs[i - 3]);
  EXPECT_EQ(sample.targets[6], 27);  // the newline that ends the answer
  EXPECT_THAT(std::span(sample.targets).subspan(7), Each(-1));
  EXPECT_THAT(std::span(sample.inputs).subspan(7), Each(27));
}

TEST(SyntheticTask, IsAFunctionOfItsArguments) {
  const SyntheticTask task("copy", 7), same("copy:16", 7), other("copy", 8);
  const auto inputs = [](const SyntheticTask& t, int64_t i) { return sample_of(t, Split::train, i).inputs; };
  std::set<std::vector<int32_t>> seen;
  for (int64_t i = 99; i >= 0; --i) {
    EXPECT_EQ(inputs(task, i), inputs(same, i));
    EXPECT_NE(inputs(task, i), inputs(other, i));
    seen.insert(inputs(task, i));
  }
  seen.insert(inputs(task, int64_t{1} << 40));
  EXPECT_EQ(seen.size(), 101u);
}

TEST(SyntheticTask, NoPromptOfTrainingIsEverValidated) {
  std::set<std::vector<int32_t>> train, validation;
  const SyntheticTask task("modular_addition:31", 3), other("modular_addition:31", 4);
  for (int64_t i = 0; i < 20000; ++i) {
    train.insert(sample_of(task, Split::train, i).inputs);
    validation.insert(sample_of(other, Split::validation, i).inputs);
  }
  for (const auto& sample : validation) EXPECT_FALSE(train.contains(sample));
  EXPECT_EQ(train.size() + validation.size(), 31u * 31u);  // both splits are drawn from in full
  EXPECT_NEAR(static_cast<double>(validation.size()), 96.1, 30);
}

TEST(SyntheticTask, DrawsAllValuesEquallyOften) {
  const SyntheticTask task("sort:10", 11);
  std::vector<int> counts(10);
  for (int64_t i = 0; i < 5000; ++i) {
    const Sample sample = sample_of(task, Split::train, i);
    for (size_t at = 0; at < 10; ++at) ++counts[static_cast<size_t>(sample.inputs[at])];
  }
  for (const int count : counts) EXPECT_NEAR(count, 5000, 350);
}

TEST(SyntheticTask, RefusesWhatItIsNot) {
  EXPECT_EQ(message_of([] { SyntheticTask("reverse", 1); }),
            "data: the task 'reverse' is not known; use copy, sort, addition or modular_addition");
  EXPECT_EQ(message_of([] { SyntheticTask("copy:1", 1); }),
            "data: the size of the task copy must be a whole number from 2 to 100000, not '1'");
  for (const char* bad : {"", "copy:", "copy:x", "copy:4x", "sort:1", "addition:0", "modular_addition:9", "copy:-3",
                          "copy:99999999999999999999"}) {
    EXPECT_THROW(SyntheticTask(bad, 1), Error) << bad;
  }
  const SyntheticTask task("copy:5", 1);
  EXPECT_THAT(message_of([&] { sample_of(task, Split::train, 0, 10); }), HasSubstr("takes rows of 11 tokens, not 10"));
}

TEST(ExactMatch, WantsEveryTarget) {
  const std::vector<int32_t> targets{-1, -1, 4, 5, -1};
  EXPECT_TRUE(exact_match(std::vector<int32_t>{9, 8, 4, 5, 7}, targets));
  EXPECT_FALSE(exact_match(std::vector<int32_t>{9, 8, 4, 6, 7}, targets));
  EXPECT_FALSE(exact_match(std::vector<int32_t>{9, 8, 4, 5}, targets));
}

}  // namespace
}  // namespace tessera
