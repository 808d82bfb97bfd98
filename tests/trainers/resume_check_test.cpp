#include "trainers/resume_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/toy_config.h"

namespace tessera {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

Config sorting() {
  Config config = toy_config({});
  config.data = "task:sort:2";
  config.block_size = 5;
  config.batch_size = 2;
  return config;
}

struct Verdict {
  int code;
  std::string text;
};

Verdict verdict(const Trainer& straight, const Trainer& resumed) {
  testing::internal::CaptureStdout();
  const int code = print_differences(straight, resumed);
  std::fflush(stdout);
  return {code, testing::internal::GetCapturedStdout()};
}

TEST(ResumeCheck, TellsEveryBitThatDiffers) {
  const Trainer straight(sorting()), resumed(sorting());
  const Verdict equal = verdict(straight, resumed);
  EXPECT_EQ(equal.code, 0);
  EXPECT_THAT(equal.text, AllOf(HasSubstr("resuming is bit-exact\n"), Not(HasSubstr("differ"))));

  // Two elements of one tensor of the optimizer; one of the weights, whose value is the same number.
  const auto& first = resumed.arena().entries().front();
  resumed.optimizer_buffers().begin()->second.slice(0, first.begin, first.begin + 2).fill(1);
  const auto& last = resumed.arena().entries().back();
  straight.arena().weights().slice(0, last.end - 1, last.end).fill(0.0);
  resumed.arena().weights().slice(0, last.end - 1, last.end).fill(-0.0);
  const Verdict different = verdict(straight, resumed);
  EXPECT_EQ(different.code, 1);
  const std::string moment = first.parameter->name + "." + resumed.optimizer_buffers().begin()->first;
  EXPECT_THAT(different.text, ContainsRegex("\n" + moment + " +2 of [0-9]+ differ\n"));
  EXPECT_THAT(different.text, ContainsRegex("\n" + last.parameter->name + " +1 of [0-9]+ differ\n"));
  EXPECT_THAT(different.text, HasSubstr("resuming is NOT bit-exact: 3 elements differ\n"));
}

}  // namespace
}  // namespace tessera
