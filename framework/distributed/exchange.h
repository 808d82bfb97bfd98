// The ranks of a run meet before any library connects them: each brings a short text, and everyone gets them all. One
// process is the host (rank 0, or the launcher of the ranks). Plain TCP, once, with a deadline; gradients never go
// here.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "framework/distributed/socket.h"
#include "framework/error.h"

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
  /// True once every rank has come.
  bool complete() const;
  /// True once the deadline is over and ranks are missing.
  bool failed() const;
  /// What the ranks brought so far, by rank; nothing where one has not come.
  std::vector<std::optional<std::string>> texts() const;

 private:
  void serve();
  void welcome(Socket connection);
  void finish();

  Options options_;
  Socket listener_;
  std::vector<Socket> connections_;                // by rank; none: has not come
  mutable std::mutex mutex_;                       // guards texts_
  std::vector<std::optional<std::string>> texts_;  // by rank
  std::atomic<bool> failed_ = false;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

/// The ranks that did not come.
class RanksMissing : public Error {
 public:
  explicit RanksMissing(std::vector<int> missing, double seconds);
  const std::vector<int>& ranks() const { return ranks_; }

 private:
  std::vector<int> ranks_;
};

/// Where to bring a text, and whose it is.
struct ExchangePlace {
  std::string host = "127.0.0.1";
  int port = 0;
  int rank = 0;
  double deadline_seconds = 60;
};

/// Brings `text` to the host, which may start later, and returns the texts of all ranks, by rank. Throws
/// RanksMissing, or an Error that names the host, when the deadline is over.
std::vector<std::string> exchange_texts(const ExchangePlace& place, const std::string& text);

/// Brings `text` and waits for nobody; what nobody takes is lost.
void bring_text(const ExchangePlace& place, const std::string& text);

}  // namespace tessera
