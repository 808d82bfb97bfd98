#include "framework/data/batches.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Share, CutsIntoRunsThatDifferByAtMostOne) {
  EXPECT_EQ(share({10, 17}, 0, 3), (Rows{10, 13}));
  EXPECT_EQ(share({10, 17}, 1, 3), (Rows{13, 15}));
  EXPECT_EQ(share({10, 17}, 2, 3), (Rows{15, 17}));
  EXPECT_EQ(share({0, 1}, 1, 2).count(), 0);
}

TEST(BatchPlan, OneRankRunsTheBatchesAsWritten) {
  const BatchPlan plan{.batch_size = 4, .gradient_accumulation_steps = 3};
  EXPECT_THAT(plan.micro_batches(0), ElementsAre(Rows{0, 4}, Rows{4, 8}, Rows{8, 12}));
  EXPECT_THAT(plan.micro_batches(2), ElementsAre(Rows{24, 28}, Rows{28, 32}, Rows{32, 36}));
}

TEST(BatchPlan, RanksShareWhatOneRankWouldDo) {
  for (int64_t world = 1; world <= 10; ++world) {
    std::vector<Rows> all;
    int64_t least = 100, most = 0;
    for (int64_t rank = 0; rank < world; ++rank) {
      const BatchPlan plan{.batch_size = 5, .gradient_accumulation_steps = 2, .rank = rank, .world = world};
      int64_t rows = 0;
      for (const Rows run : plan.micro_batches(7)) {
        EXPECT_LE(run.count(), plan.batch_size);
        rows += run.count();
        all.push_back(run);
      }
      least = std::min(least, rows);
      most = std::max(most, rows);
    }
    EXPECT_LE(most - least, 1) << world;
    EXPECT_EQ(all.front().begin, 70);
    EXPECT_EQ(all.back().end, 80);
    for (size_t i = 1; i < all.size(); ++i) EXPECT_EQ(all[i].begin, all[i - 1].end);
  }
  EXPECT_EQ(
      message_of([] { BatchPlan{.batch_size = 3, .gradient_accumulation_steps = 1, .world = 4}.micro_batches(0); }),
      "batch_size 3 x gradient_accumulation_steps 1 cannot be split over 4 ranks; raise one of them");
}

TEST(BatchPlan, RanksShareTheEvaluation) {
  std::vector<Rows> all;
  for (int64_t rank = 0; rank < 3; ++rank) {
    for (const Rows run : BatchPlan{.batch_size = 4, .rank = rank, .world = 3}.evaluation_batches(25))
      all.push_back(run);
  }
  EXPECT_THAT(all,
              ElementsAre(Rows{0, 3}, Rows{3, 6}, Rows{6, 9}, Rows{9, 13}, Rows{13, 17}, Rows{17, 21}, Rows{21, 25}));
  EXPECT_THAT((BatchPlan{.batch_size = 4, .rank = 2, .world = 3}.evaluation_batches(2)), IsEmpty());
}

/// The first tokens of all windows that the ranks read in the iterations of the first epochs.
std::multiset<int64_t> begins(const TrainingOrder& order, int64_t first, int64_t last, int64_t world) {
  std::multiset<int64_t> result;
  for (int64_t iteration = 0; 6 * iteration < last; ++iteration) {
    for (int64_t rank = 0; rank < world; ++rank) {
      const BatchPlan plan{.batch_size = 2, .gradient_accumulation_steps = 3, .rank = rank, .world = world};
      for (const Rows rows : plan.micro_batches(iteration)) {
        for (int64_t sequence = rows.begin; sequence < rows.end; ++sequence) {
          if (sequence >= first && sequence < last) result.insert(order.begin(sequence));
        }
      }
    }
  }
  return result;
}

TEST(TrainingOrder, AllRanksTogetherReadEachWindowOfAnEpochOnce) {
  constexpr int64_t kTokens = 1003, kBlock = 10;
  const TrainingOrder order(kTokens, kBlock, 1337);
  const int64_t windows = order.windows();
  EXPECT_EQ(windows, 99);
  for (const int64_t world : {1, 2, 4, 6}) {
    std::set<int64_t> shifts;
    for (int64_t epoch = 0; epoch < 8; ++epoch) {
      const auto read = begins(order, epoch * windows, (epoch + 1) * windows, world);
      ASSERT_EQ(static_cast<int64_t>(read.size()), windows);
      const int64_t shift = *read.begin();
      shifts.insert(shift);
      EXPECT_LT(shift, kBlock);
      EXPECT_LE(*read.rbegin() + kBlock + 1, kTokens);
      int64_t expected = shift;
      for (const int64_t begin : read) {
        EXPECT_EQ(begin, expected);
        expected += kBlock;
      }
    }
    EXPECT_GT(shifts.size(), 3u);
  }
}

TEST(TrainingOrder, IsAFunctionOfSeedAndSequence) {
  const TrainingOrder order(5000, 16, 1), same(5000, 16, 1), other(5000, 16, 2);
  int different_seed = 0, different_epoch = 0;
  for (int64_t i = order.windows() - 1; i >= 0; --i) {
    EXPECT_EQ(order.begin(i), same.begin(i));
    different_seed += order.begin(i) / 16 != other.begin(i) / 16;
    different_epoch += order.begin(i) / 16 != order.begin(i + order.windows()) / 16;
  }
  EXPECT_GT(different_seed, 250);
  EXPECT_GT(different_epoch, 250);
}

TEST(TrainingOrder, FitsTheShortestTexts) {
  for (int64_t block = 1; block <= 9; ++block) {
    for (int64_t tokens = block + 1; tokens < 4 * block + 3; ++tokens) {
      const TrainingOrder order(tokens, block, 5);
      EXPECT_GE(order.windows(), 1);
      std::set<int64_t> seen;
      for (int64_t sequence = 0; sequence < 200; ++sequence) {
        const int64_t begin = order.begin(sequence);
        EXPECT_GE(begin, 0);
        EXPECT_LE(begin + block + 1, tokens);
        seen.insert(begin);
      }
      // Over the epochs every token is a target (but the first, which has nothing before it).
      EXPECT_EQ(*seen.begin(), 0);
      if (tokens < 2 * block) {
        EXPECT_EQ(*seen.rbegin() + block + 1, tokens);
      }
    }
  }
}

TEST(Evaluation, SpreadsDistinctRowsOverTheStream) {
  constexpr int64_t kTokens = 1001, kBlock = 10;
  ASSERT_EQ(evaluation_windows(kTokens, kBlock), 100);
  EXPECT_EQ(evaluation_windows(kTokens - 1, kBlock), 99);
  for (const int64_t rows : {1, 3, 7, 99, 100}) {
    int64_t last = -kBlock;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t begin = evaluation_begin(row, rows, kTokens, kBlock);
      EXPECT_GE(begin, last + kBlock);
      EXPECT_EQ(begin % kBlock, 0);
      EXPECT_LE(begin + kBlock + 1, kTokens);
      last = begin;
    }
    EXPECT_GE(last + kBlock, kTokens - 1 - kTokens / rows);
  }
  EXPECT_EQ(evaluation_windows(5, 10), 0);
  EXPECT_EQ(evaluation_begin(999, 1000, int64_t{1} << 62, 1) >> 40, (((int64_t{1} << 62) / 1000) * 999) >> 40);
}

}  // namespace
}  // namespace tessera
