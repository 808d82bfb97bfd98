// A thread that waits for no call of MPI or NCCL and so cannot hang with them. It tells the other ranks where this one
// is, hears where they are, and ends a run that cannot go on: the lowest rank alive prints a table of all, every
// survivor leaves with code 75 by _exit, and stopped processes of this host are killed, as is an mpirun that would wait
// for a host that is lost.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "framework/distributed/connection.h"
#include "framework/distributed/heartbeat.h"
#include "framework/distributed/rank_table.h"
#include "framework/distributed/socket.h"

namespace tessera {

/// What a rank exits with when the run ended because of a rank or the network: EX_TEMPFAIL, "try again".
inline constexpr int kExitRankFailure = 75;

class Watchdog {
 public:
  struct Options {
    int rank = 0;
    std::string towards = "127.0.0.1";  ///< a host of the run, as own_address_towards takes it
    double silence_seconds = 8;         ///< as RankTable's
    double stuck_seconds = 300;         ///< as RankTable's
    /// Called on the watchdog's thread when the run cannot go on; `text` is empty where another rank speaks. By default
    /// it writes the text to stderr and calls _exit(kExitRankFailure).
    std::function<void(const std::string& text)> leave = {};
  };

  explicit Watchdog(Options options);
  /// Says good-bye to the other ranks: as finished after finish(), else as failed.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// What the other ranks need in order to hear this one: a RankCard's text.
  std::string card() const { return card_.text(); }
  /// Starts to watch the ranks whose cards these are, in the order of ranks, this one included. `heartbeat` is what
  /// this rank does.
  void watch(const std::vector<std::string>& cards, std::shared_ptr<const Heartbeat> heartbeat);
  /// From now on `heartbeat` is what this rank does, and `connection`, if there is one, what its collectives go
  /// through. Where that fails and no rank is found to be the cause for `silence_seconds`, the failure itself ends the
  /// run. Whatever ends the run, the connection is aborted.
  void follow(std::shared_ptr<const Heartbeat> heartbeat, std::shared_ptr<Connection> connection = nullptr);
  /// This rank has done its part: its silence is no failure from now on.
  void finish() { finished_ = true; }

  /// What a rank that cannot go on learns from the others before it leaves.
  struct Farewell {
    bool everyone = false;  ///< all ranks failed: an error that they share, such as a missing file
    bool speak = true;      ///< no lower rank fails for the same reason, so this one should print it
  };
  /// This rank leaves with an error. Waits a moment for the others to say the same.
  Farewell fail(const std::string& reason);
  /// For a rank whose connection has failed: returns only if the run does not end by itself.
  void wait_for_the_end();

  /// Ends the run with `text` unless the returned object is destroyed within `seconds`: for what may hang before the
  /// ranks watch one another.
  class Deadline;
  [[nodiscard]] Deadline deadline(double seconds, std::string text);

 private:
  using Clock = std::chrono::steady_clock;
  struct Message;

  void run();
  void tick(double now);
  void check_deadline(double now);
  void check_connection(double now);
  void hear_all(double now);
  void look_at_processes(double now);
  void tell_all();
  void end_run(double now);
  void kill_stopped() const;
  void release_launcher() const;
  double seconds() const;
  uint64_t& own_reason() { return reasons_[static_cast<size_t>(options_.rank)]; }

  Options options_;
  Clock::time_point begin_ = Clock::now();
  Socket socket_;
  RankCard card_;
  std::mutex mutex_;  // guards all that follows up to the thread, except the atomics
  std::optional<RankTable> table_;
  std::shared_ptr<const Heartbeat> heartbeat_;
  std::shared_ptr<Connection> connection_;
  double disconnected_since_ = -1;   // below 0: it has not failed
  std::string broken_;               // how it had failed when the run was given up
  std::vector<sockaddr_in> places_;  // by rank
  uint64_t run_ = 0;                 // the same in all ranks of this run and in no other run
  std::vector<uint64_t> reasons_;    // of ranks that failed, by rank; 0: has not failed
  double failing_since_ = -1;
  double ends_at_ = -1;  // of the deadline; below 0: there is none
  std::string deadline_text_;
  std::atomic<bool> finished_ = false;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class Watchdog::Deadline {
 public:
  explicit Deadline(Watchdog& watchdog) : watchdog_(&watchdog) {}
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  Watchdog* watchdog_;
};

}  // namespace tessera
