#include "trainers/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/devices.h"
#include "tests/temporary_folder.h"
#include "trainers/config/load.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

using testing::HasSubstr;

class Compare : public testing::Test {
 protected:
  Compare() {
    std::string text;
    for (int i = 0; i < 300; ++i) text += "sphinx of black quartz, judge my vow " + std::to_string(i % 7) + ". ";
    folder_.write("text.txt", text);
  }

  std::vector<std::string> words(std::vector<std::string> more) const {
    std::vector<std::string> words{"--data=" + (folder_ / "text.txt").string(),
                                   "--device=" + to_string(test_device()),
                                   "--n_layer=2",
                                   "--n_head=2",
                                   "--n_embd=32",
                                   "--block_size=24",
                                   "--batch_size=3",
                                   "--dropout=0.1",
                                   "--warmup_iters=0"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  std::vector<LayerError> compare(std::vector<std::string> a, std::vector<std::string> b) const {
    std::vector<std::pair<double, double>> losses;
    auto rows =
        compare_steps(load_config(words(std::move(a))).config, load_config(words(std::move(b))).config, 2, losses);
    EXPECT_EQ(losses.size(), 2U);
    for (const auto& [loss_a, loss_b] : losses) EXPECT_NEAR(loss_a, loss_b, 0.2);
    return rows;
  }

  TemporaryFolder folder_;
};

const LayerError& row_of(const std::vector<LayerError>& rows, const std::string& layer, const std::string& op) {
  for (const LayerError& row : rows) {
    if (row.layer == layer && row.op == op) return row;
  }
  throw Error("no row " + layer + " " + op);
}

TEST_F(Compare, SixteenBitIsWithinTwiceAPlainRunEverywhere) {
  for (const char* dtype : {"--dtype=bfloat16", "--dtype=float16"}) {
    SCOPED_TRACE(dtype);
    const std::vector<LayerError> rows = compare({}, {dtype});
    EXPECT_GE(rows.size(), 12U);
    for (const LayerError& row : rows) {
      EXPECT_TRUE(row.within()) << row.layer << " " << row.op << ": " << row.activation.error << " of "
                                << row.activation.limit << (row.gradient ? ", gradient " : "")
                                << (row.gradient ? row.gradient->error : 0) << " of "
                                << (row.gradient ? row.gradient->limit : 0);
    }
    const LayerError& up = row_of(rows, "blocks.1.feed_forward.up", "linear");
    EXPECT_GT(up.activation.error, 1e-5);  // it really computed in 16 bit
    EXPECT_GT(up.gradient->error, 1e-5);
  }
}

// An arena pads each parameter to a number of bytes, so that 4 and 8 byte weights lie elsewhere.
TEST_F(Compare, PaddingThatDependsOnTheDtypeIsNoDifference) {
  const std::vector<std::string> both{"--n_embd=100", "--device=cpu"};
  for (const LayerError& row : compare({"--n_embd=100", "--device=cpu", "--dtype=float64"}, both))
    EXPECT_TRUE(row.within()) << row.layer << " " << row.op << ": " << row.activation.error;
}

TEST_F(Compare, AFaultIsSeenWhereItIs) {
  const std::vector<LayerError> rows = compare({}, {"--softcap=1"});
  EXPECT_TRUE(rows.front().activation.within());  // the embedding knows nothing of it
  for (const LayerError& row : rows) {
    if (row.activation.within()) continue;
    EXPECT_EQ(row.op, "flash_attention");  // the first one that is off
    EXPECT_THAT(row.layer, HasSubstr("blocks.0"));
    return;
  }
  FAIL() << "nothing was above its limit";
}

TEST_F(Compare, UnderflowWithoutALossScaleIsSeenInTheGradients) {
  const std::vector<LayerError> rows = compare({}, {"--dtype=float16", "--loss_scale=1.2e-7"});
  int64_t above = 0;
  for (const LayerError& row : rows) {
    EXPECT_TRUE(row.activation.within());
    above += row.gradient && !row.gradient->within();
  }
  EXPECT_GT(above, 0);
}

TEST_F(Compare, TheCommandPrintsATableAndSaysIfALimitWasPassed) {
  testing::internal::CaptureStdout();
  const int good = run_compare(words({"--a.dtype=float32", "--b.dtype=float16", "--steps=1"}));
  const int bad = run_compare(words({"--a.dtype=float32", "--b.softcap=1", "--steps=1"}));
  std::fflush(stdout);
  const std::string output = testing::internal::GetCapturedStdout();
  EXPECT_EQ(good, 0);
  EXPECT_EQ(bad, 1);
  EXPECT_THAT(output, HasSubstr("every layer is within its limits"));
  EXPECT_THAT(output, HasSubstr("above their limit"));
}

std::string usage_error_of(const std::vector<std::string>& words) {
  try {
    run_compare(words);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was refused";
}

TEST_F(Compare, WhatCannotBeComparedIsRefused) {
  EXPECT_THAT(usage_error_of(words({"--a.dtype=bfloat16"})), HasSubstr("set a.dtype to float32 or float64"));
  EXPECT_THAT(usage_error_of(words({"--b.activation=swiglu"})),
              HasSubstr("a and b are different models: 'blocks.0.feed_forward.up.weight' is [128, 32] in one and"));
  for (const std::string word : {"--b.seed=9", "--b.batch_size=4", "--b.data=b.txt", "--a.n_embd=64"}) {
    const std::string key = word.substr(4, word.find('=') - 4);
    EXPECT_THAT(usage_error_of(words({word})),
                HasSubstr(word.substr(0, 4) + key + " cannot hold for one side alone; write --" + key + " for both"));
  }
  EXPECT_THAT(usage_error_of(words({"--steps=0"})), HasSubstr("at least 1"));
  EXPECT_THAT(usage_error_of(words({"--b.dtyp=float16"})), HasSubstr("did you mean dtype?"));
}

}  // namespace
}  // namespace tessera
