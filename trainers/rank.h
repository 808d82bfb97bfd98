// This process as one of the ranks of a run: it meets the others, checks that they agree, works under the eyes of the
// watchdog, and leaves together with them.
#pragma once

#include <functional>
#include <memory>

#include "framework/distributed/communicator.h"
#include "framework/distributed/rendezvous.h"
#include "framework/distributed/start_check.h"

namespace tessera {

struct RankOptions {
  Device device;
  double watchdog_seconds = 300;  ///< after which a run in which nothing moves is ended; 0: never
  Facts facts = {};               ///< what must be the same on all ranks
};

/// Runs `work` with the communicator of all ranks and returns the exit code: that of `work`, 1 for an error that all
/// ranks have (one of them prints it), kExitRankFailure where this rank fails alone. In a world of one it throws what
/// `work` throws.
int run_as_rank(const Rendezvous& place, const RankOptions& options,
                const std::function<int(std::shared_ptr<Communicator> ranks)>& work);

}  // namespace tessera
