#include "trainers/nearest.h"

#include <vector>

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(EditDistance, CountsInsertionsDeletionsReplacementsAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("abc", ""), 3U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("train", "TRAIN"), 0U);
  EXPECT_EQ(edit_distance("tarin", "train"), 1U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

TEST(Nearest, FindsOnlyWhatIsNear) {
  const std::vector<std::string> names = {"train", "sample", "eval", "learning_rate", "learn"};
  EXPECT_EQ(nearest("trian", names), "train");
  EXPECT_EQ(nearest("smaple", names), "sample");
  EXPECT_EQ(nearest("learning", names), "learning_rate");
  EXPECT_EQ(nearest("zzzzz", names), std::nullopt);
  EXPECT_EQ(nearest("", names), std::nullopt);
  EXPECT_EQ(nearest(std::string(100'000, 'x'), names), std::nullopt);
}

}  // namespace
}  // namespace tessera
