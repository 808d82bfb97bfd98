// What a rank says of itself when the ranks meet: where its heartbeats come from and which process it is.
#pragma once

#include <cstdint>
#include <string>

namespace tessera {

struct RankCard {
  std::string host;     ///< this machine's name, for people
  std::string address;  ///< IPv4, as the other ranks see it
  int port = 0;         ///< where it takes heartbeats
  int64_t pid = 0;
  int64_t started = 0;  ///< the kernel's start time of that process, so that a pid used again is not mistaken for it
  std::string space;    ///< processes with the same text see the same pids

  std::string text() const;
  /// Throws Error where `text` was not made by text().
  static RankCard parse(const std::string& text);
};

/// The card of this process. `towards`: a host that shows which of the addresses the others can reach, as
/// own_address_towards takes it.
RankCard own_card(const std::string& towards, int port);

enum class ProcessState { running, stopped, gone, unknown };

/// What the kernel says of that rank's process; unknown where it cannot be seen from `viewer`, another machine or
/// container.
ProcessState state_of(const RankCard& card, const RankCard& viewer);

}  // namespace tessera
