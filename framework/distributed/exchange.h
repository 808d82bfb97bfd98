// The ranks of a run meet before any library connects them: each brings a short text, and everyone gets them all. One
// process is the host (rank 0, or the launcher of the ranks). Plain TCP, once, with a deadline; gradients never go
// here.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "framework/distributed/socket.h"

namespace tessera {

/// Takes every rank's text and sends the whole list to each of them. It serves one exchange, on a thread of its own.
class ExchangeHost {
 public:
  struct Options {
    int world = 1;
    int port = 0;              ///< 0: any free one, see port()
    bool other_hosts = false;  ///< ranks come from other machines, too
    double deadline_seconds = 60;
  };

  /// Throws Error where the port is in use.
  explicit ExchangeHost(const Options& options);
  /// Ends the exchange, finished or not.
  ~ExchangeHost();
  ExchangeHost(const ExchangeHost&) = delete;
  ExchangeHost& operator=(const ExchangeHost&) = delete;

  int port() const { return listener_.port(); }
  /// The ranks that had not come when the deadline was over; empty before that and where all came.
  std::vector<int> missing() const;

 private:
  void serve();
  void welcome(Socket connection);
  void finish();

  Options options_;
  Socket listener_;
  std::vector<std::string> texts_;   // by rank
  std::vector<Socket> connections_;  // by rank; none: has not come
  mutable std::mutex mutex_;         // guards missing_
  std::vector<int> missing_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

/// Where to bring a text, and whose it is.
struct ExchangePlace {
  std::string host = "127.0.0.1";
  int port = 0;
  int rank = 0;
  double deadline_seconds = 60;
};

/// Brings `text` to the host, which may start later, and returns the texts of all ranks, by rank. Throws Error that
/// names the host or the missing ranks when the deadline is over.
std::vector<std::string> exchange(const ExchangePlace& place, const std::string& text);

}  // namespace tessera
