#include "framework/distributed/rank_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

using testing::HasSubstr;
using testing::Not;

RankTable table_of(int world) {
  std::vector<RankCard> cards;
  for (int rank = 0; rank < world; ++rank) {
    cards.push_back({.host = rank < 2 ? "left" : "right",
                     .address = "127.0.0.1",
                     .port = 1,
                     .pid = 100 + rank,
                     .started = 1,
                     .space = rank < 2 ? "l" : "r"});
  }
  return {{.rank = 0, .silence_seconds = 8, .stuck_seconds = 60}, cards, 0};
}

void all_beat(RankTable& table, int64_t beats, double now, int except = -1) {
  for (int rank = 0; rank < table.world(); ++rank) {
    if (rank != except) table.hear(rank, {.phase = Phase::backward, .step = beats, .beats = beats}, now);
  }
}

TEST(RankTable, HealthyRanksAreNeverAccused) {
  RankTable table = table_of(4);
  for (int second = 1; second < 1000; ++second) {
    all_beat(table, second / 50, second);
    EXPECT_FALSE(table.judge(second)) << second;
  }
  EXPECT_EQ(table.speaker(), 0);
}

TEST(RankTable, ASilentRankIsAccusedAfterTheDeadlineAndTheLowestOtherSpeaks) {
  RankTable table = table_of(4);
  all_beat(table, 1, 1);
  for (int second = 2; second < 10; ++second) {
    all_beat(table, second, second, 0);
    EXPECT_FALSE(table.judge(second)) << second;
  }
  EXPECT_TRUE(table.judge(9.1));
  EXPECT_EQ(table.culprit(), 0);
  EXPECT_EQ(table.trouble(0), Trouble::silent);
  EXPECT_EQ(table.speaker(), 1);
  EXPECT_EQ(table.speaker("r"), 2);
  EXPECT_THAT(table.text(9.1),
              HasSubstr("because of rank 0 of 4 (host left, step 1, backward): no sign of life for 8 s"));
}

TEST(RankTable, ARankThatWasNeverHeardIsBehindAFirewallAndNotDead) {
  RankTable table = table_of(2);
  for (int second = 1; second < 50; ++second) {
    all_beat(table, second, second, 1);
    EXPECT_FALSE(table.judge(second));
  }
}

TEST(RankTable, WhoeverLeftOwesNothing) {
  RankTable table = table_of(3);
  all_beat(table, 1, 1);
  table.left(2);
  for (int second = 2; second < 30; ++second) {
    all_beat(table, second, second, 2);
    EXPECT_FALSE(table.judge(second));
  }
  EXPECT_THAT(table.text(30), HasSubstr("finished"));
}

TEST(RankTable, OneMovingRankIsEnough) {
  RankTable table = table_of(3);
  for (int second = 1; second < 300; ++second) {
    all_beat(table, 1, second, 0);
    table.hear(0, {.phase = Phase::save, .step = 1, .beats = second}, second);
    EXPECT_FALSE(table.judge(second));
  }
}

TEST(RankTable, OfStuckRanksThoseThatDoNotWaitAreAccused) {
  RankTable table = table_of(3);
  for (int second = 1; second < 70; ++second) {
    for (int rank = 0; rank < 3; ++rank) {
      table.hear(rank, {.phase = rank == 1 ? Phase::save : Phase::reduce, .step = 7, .beats = 20}, second);
    }
    EXPECT_EQ(table.judge(second), second > 61) << second;
  }
  EXPECT_EQ(table.trouble(0), Trouble::none);
  EXPECT_EQ(table.trouble(1), Trouble::stuck);
  EXPECT_EQ(table.speaker(), 0);
  EXPECT_THAT(table.text(69), HasSubstr("rank 1 of 3 (host left, step 7, save): nothing has moved for 68 s"));
}

TEST(RankTable, IfAllWaitAllAreStuckAndTheFirstSpeaks) {
  RankTable table = table_of(2);
  for (int rank = 0; rank < 2; ++rank) table.hear(rank, {.phase = Phase::reduce, .step = 7, .beats = 1}, 100);
  table.hear(0, {.phase = Phase::reduce, .step = 7, .beats = 1}, 170);
  table.hear(1, {.phase = Phase::reduce, .step = 7, .beats = 1}, 170);
  EXPECT_TRUE(table.judge(170));
  EXPECT_EQ(table.trouble(1), Trouble::stuck);
  EXPECT_EQ(table.speaker(), 0);
}

TEST(RankTable, ForgivesWhatHappenedWhileItSleptItself) {
  RankTable table = table_of(2);
  all_beat(table, 1, 1);
  table.forgive(5000);
  EXPECT_FALSE(table.judge(5001));
}

TEST(RankTable, TheFirstWordCounts) {
  RankTable table = table_of(2);
  table.accuse(1, Trouble::gone);
  table.accuse(1, Trouble::silent);
  EXPECT_TRUE(table.judge(0));
  EXPECT_THAT(table.text(0), HasSubstr("its process is gone"));
}

TEST(RankTable, AHugeWorldPrintsItsTroubleAndNotEveryRank) {
  RankTable table = table_of(1024);
  table.accuse(1000, Trouble::gone);
  const std::string text = table.text(0);
  EXPECT_THAT(text, HasSubstr("1100"));  // the pid of rank 1000
  EXPECT_THAT(text, HasSubstr("and 959 more"));
  EXPECT_THAT(text, Not(HasSubstr("1099")));
}

}  // namespace
}  // namespace tessera
