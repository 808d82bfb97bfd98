// Starts the ranks of a run on this machine, through mpirun, and sees to it that they end together: whatever happens to
// one of them, no process of the run is left when this returns.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "framework/distributed/rendezvous.h"

namespace tessera {

struct Launch {
  int ranks = 1;
  int max_restarts = 0;            ///< after failures of a rank
  std::vector<std::string> words;  ///< of this program's command line: `train toy.cfg --dtype=bfloat16`
  /// The words that go on after a failure. By default the same again.
  std::function<std::vector<std::string>()> words_to_go_on = {};
};

/// Runs this program as `ranks` processes and returns the exit code: theirs where all ended in agreement (0, a usage
/// error, 128 + a signal…), kExitRankFailure where a rank failed and no restart is left. SIGINT and SIGTERM are
/// passed on to the ranks; a second one ends them at once. Where `place` is one of several processes that torchrun
/// started, the first of them starts the ranks, as many as there are processes, and the others wait for its exit code.
int launch(Launch launch, const Rendezvous& place);

}  // namespace tessera
