#include "trainers/command_line.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainers/usage_error.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::internal::CaptureStderr;
using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStderr;
using ::testing::internal::GetCapturedStdout;
using Words = std::vector<std::string>;

constexpr Command kCommands[] = {
    {"train", "CONFIG [--key=value ...]", "train a model",
     [](std::span<const std::string> words) { return static_cast<int>(words.size()); }},
    {"draw", "RUN [--key=value ...]", "draw samples", run_config, "Sampling", "As many as you like."},
    {"break", "", "fail", [](std::span<const std::string>) -> int { throw Error("it broke"); }},
    {"config", "[CONFIG] [--key=value ...]", "print settings", run_config},
};

int run(std::span<const std::string> words) { return dispatch(kCommands, words); }

struct Outcome {
  int code;
  std::string out, err;
};

Outcome outcome_of(const Words& words) {
  CaptureStdout();
  CaptureStderr();
  const int code = exit_code_of(run, words);
  return {code, GetCapturedStdout(), GetCapturedStderr()};
}

TEST(CommandLine, GivesACommandItsWordsAndReturnsItsCode) {
  EXPECT_EQ(outcome_of({"train", "a.cfg", "--n_layer=4", "x"}).code, 3);
}

TEST(CommandLine, UsageErrorsExitWithTwoAndOthersWithOne) {
  const Outcome unknown = outcome_of({"trian", "a.cfg"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_EQ(unknown.err, "tessera: unknown command trian; did you mean train?\n");
  EXPECT_EQ(unknown.out, "");
  EXPECT_EQ(outcome_of({"zzz"}).err, "tessera: unknown command zzz; `tessera help` lists the commands\n");
  EXPECT_EQ(outcome_of({}).code, 2);
  EXPECT_EQ(outcome_of({"help", "trian"}).code, 2);
  EXPECT_EQ(outcome_of({"config", "--nlayer=4"}).code, 2);
  const Outcome broken = outcome_of({"break"});
  EXPECT_EQ(broken.code, 1);
  EXPECT_EQ(broken.err, "tessera: it broke\n");
}

TEST(CommandLine, HelpListsCommandsAndKeys) {
  EXPECT_THAT(outcome_of({"help"}).out, HasSubstr("train CONFIG [--key=value ...]"));
  EXPECT_EQ(outcome_of({"--help"}).out, outcome_of({"help"}).out);
  for (const char* built_in : {"help", "version", "--help"}) {
    EXPECT_EQ(outcome_of({"help", built_in}).out, outcome_of({"help"}).out);
  }
  const Outcome train = outcome_of({"train", "x.cfg", "--help"});
  EXPECT_EQ(train.code, 0);
  EXPECT_THAT(train.out, HasSubstr("Usage: tessera train CONFIG"));
  EXPECT_THAT(train.out, HasSubstr("--learning_rate 0.001"));
  EXPECT_EQ(train.out, outcome_of({"help", "train"}).out);
  const std::string draw = outcome_of({"help", "draw"}).out;
  EXPECT_THAT(draw,
              AllOf(HasSubstr("As many as you like.\n"), HasSubstr("--top_k "), HasSubstr("`tessera help train`")));
  EXPECT_THAT(draw, Not(HasSubstr("--learning_rate")));
  EXPECT_THAT(outcome_of({"version"}).out, HasSubstr("tessera "));
}

TEST(CommandLine, ConfigPrintsTheEffectiveSettings) {
  const Outcome config = outcome_of({"config", "--n_layer=4", "--compile=False"});
  EXPECT_EQ(config.code, 0);
  EXPECT_THAT(config.out, HasSubstr("n_layer = 4                            # command line\n"));
  EXPECT_THAT(config.err, HasSubstr("Overriding: n_layer = 4\n"));
  EXPECT_THAT(config.err, HasSubstr("Ignored: compile = False"));
  EXPECT_THAT(outcome_of({"config", "--markdown"}).out, HasSubstr("# Configuration keys"));
}

}  // namespace
}  // namespace tessera
