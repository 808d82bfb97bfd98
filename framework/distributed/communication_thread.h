// A thread that runs collectives one after the other in the order in which they were posted, so that they go on behind
// whatever the caller computes.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "framework/distributed/communicator.h"

namespace tessera {

class CommunicationThread {
 public:
  CommunicationThread();
  /// Runs what was posted, then ends.
  ~CommunicationThread();

  Communicator::Ticket post(std::function<void()> job);
  /// Returns when `ticket` and all before it are done. Throws the first error of a job, now and ever after.
  void wait(Communicator::Ticket ticket);
  /// True while somebody waits: a job that polls should then do so without pausing.
  bool is_awaited() const { return awaited_; }

  Communicator::Usage usage() const;

 private:
  void run();

  mutable std::mutex mutex_;
  std::condition_variable posted_cv_;
  std::condition_variable done_cv_;
  std::deque<std::function<void()>> jobs_;
  Communicator::Ticket posted_ = 0;
  Communicator::Ticket done_ = 0;
  bool ending_ = false;
  std::exception_ptr error_;
  std::atomic<bool> awaited_ = false;
  Communicator::Usage usage_;
  double busy_since_ = 0;  // where jobs are under way
  std::thread thread_;     // last: it uses the others
};

}  // namespace tessera
