#include "trainers/communication_meter.h"

#include <gtest/gtest.h>

#include "tests/support/silent_communicator.h"

namespace tessera {
namespace {

// Ranks whose collectives take what the test says.
class ClockedCommunicator final : public SilentCommunicator {
 public:
  using SilentCommunicator::SilentCommunicator;
  Usage usage() const override { return spent; }

  Usage spent;
};

TEST(CommunicationMeter, CountsStepsAndNothingBetweenThem) {
  ClockedCommunicator ranks(2);
  CommunicationMeter meter;
  for (int step = 0; step < 2; ++step) {
    ranks.spent.busy += 100;  // an evaluation
    ranks.spent.waited += 100;
    meter.start(ranks);
    ranks.spent.busy += 0.4;
    ranks.spent.waited += 0.1;
    meter.stop(ranks);
  }
  StepReport report{.tokens_per_second = 1000};
  meter.fill(report, ranks, 2);
  EXPECT_EQ(report.ranks, 2);
  EXPECT_EQ(report.rank_tokens_per_second, 500);
  EXPECT_NEAR(*report.communication_share, 0.4, 1e-12);
  EXPECT_NEAR(*report.overlap, 0.75, 1e-12);
  EXPECT_NEAR(*report.scaling_efficiency, 0.9, 1e-12);

  meter.new_lap();
  StepReport next;
  meter.fill(next, ranks, 2);
  EXPECT_FALSE(next.overlap);
}

// The second step began before the host had heard of the first one's end: what was spent up to then is its own.
TEST(CommunicationMeter, CountsWhatGoesOnBetweenStepsUnderWay) {
  ClockedCommunicator ranks(2);
  CommunicationMeter meter;
  meter.start(ranks);
  ranks.spent.busy += 0.25;
  meter.stop(ranks);
  ranks.spent.busy += 0.5;  // while the host reports
  ranks.spent.busy += 0.25;
  meter.stop(ranks);
  StepReport report;
  meter.fill(report, ranks, 2);
  EXPECT_NEAR(*report.communication_share, 0.5, 1e-12);
}

TEST(CommunicationMeter, HasNothingToTellOfOneRank) {
  const ClockedCommunicator alone(1);
  CommunicationMeter meter;
  meter.start(alone);
  meter.stop(alone);
  StepReport report{.tokens_per_second = 1000};
  meter.fill(report, alone, 1);
  EXPECT_FALSE(report.ranks || report.rank_tokens_per_second || report.overlap);
}

}  // namespace
}  // namespace tessera
