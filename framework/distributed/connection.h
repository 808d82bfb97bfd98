// What connects the ranks, as another thread sees it: NCCL tells what went wrong only to those who ask, and whoever
// waits for its work cannot ask.
#pragma once

#include <string>

#include "framework/error.h"

namespace tessera {

/// All calls come from any thread and throw nothing.
class Connection {
 public:
  virtual ~Connection() = default;
  /// What went wrong, first and for good; empty: nothing. Waits for nothing.
  virtual std::string failure() = 0;
  /// Ends what is under way on this rank, so that nobody waits for it any longer; gives up after two seconds.
  virtual void abort() = 0;
};

/// Collectives no longer reach the other ranks, through no fault of this one.
class ConnectionLost : public Error {
 public:
  using Error::Error;
};

}  // namespace tessera
