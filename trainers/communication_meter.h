// How much of the training steps of several ranks is communication, and how much of that is hidden.
#pragma once

#include <algorithm>

#include "framework/distributed/communicator.h"
#include "trainers/report.h"

namespace tessera {

class CommunicationMeter {
 public:
  void start(const Communicator& ranks) { begin_ = ranks.usage(); }
  /// Ends a step. Unless it starts anew, the next one began here: on a GPU it is under way already.
  void stop(const Communicator& ranks) {
    const Communicator::Usage end = ranks.usage();
    lap_.busy += end.busy - begin_.busy;
    lap_.waited += end.waited - begin_.waited;
    begin_ = end;
  }
  void new_lap() { lap_ = {}; }

  /// Fills in what the steps of a lap of `seconds` were. A world of one has nothing to tell.
  void fill(StepReport& report, const Communicator& ranks, double seconds) const {
    if (ranks.world() == 1) return;
    report.ranks = ranks.world();
    report.rank_tokens_per_second = report.tokens_per_second / ranks.world();
    if (lap_.busy <= 0 || seconds <= 0) return;
    report.communication_share = std::min(1.0, lap_.busy / seconds);
    report.overlap = std::clamp(1 - lap_.waited / lap_.busy, 0.0, 1.0);
    report.scaling_efficiency = std::clamp(1 - lap_.waited / seconds, 0.0, 1.0);
  }

 private:
  Communicator::Usage begin_;
  Communicator::Usage lap_;
};

}  // namespace tessera
