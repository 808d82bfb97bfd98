// What one rank knows of all ranks, and when that adds up to a run that cannot go on. No clock, thread or socket is in
// here: the watchdog brings heartbeats and the time.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/distributed/heartbeat.h"
#include "framework/distributed/rank_card.h"

namespace tessera {

/// A heartbeat as it travels: what was read of it at one moment.
struct Pulse {
  Phase phase = Phase::start;
  int64_t step = 0;
  int64_t beats = 0;
};

/// The phase's name.
std::string_view name_of(Phase phase);

/// Why a run cannot go on with a rank.
enum class Trouble : uint8_t {
  none,
  absent,        ///< it never came
  gone,          ///< its process ended
  failed,        ///< it said that it leaves with an error
  silent,        ///< no heartbeat came
  stuck,         ///< its heart beats, but neither it nor any other rank moves
  disconnected,  ///< its collectives no longer reach the others
};

class RankTable {
 public:
  struct Options {
    int rank = 0;                ///< whose table it is
    double silence_seconds = 8;  ///< without a heartbeat a rank is given up after this
    double stuck_seconds = 300;  ///< without any rank moving the run is given up after this; 0: never
  };

  RankTable(const Options& options, std::vector<RankCard> cards, double now);

  /// A heartbeat.
  void hear(int rank, const Pulse& pulse, double now);
  /// The rank ended as it should; it owes no more heartbeats.
  void left(int rank) { rows_[static_cast<size_t>(rank)].left = true; }
  /// Somebody knows of trouble; the first word counts.
  void accuse(int rank, Trouble trouble);
  /// This process itself was stopped: what the others said meanwhile was lost.
  void forgive(double now);
  /// Looks for silent and stuck ranks. Returns true once the run cannot go on.
  bool judge(double now);

  int world() const { return static_cast<int>(rows_.size()); }
  const RankCard& card(int rank) const { return rows_[static_cast<size_t>(rank)].card; }
  Trouble trouble(int rank) const { return rows_[static_cast<size_t>(rank)].trouble; }
  bool has_left(int rank) const { return rows_[static_cast<size_t>(rank)].left; }
  /// The first rank in trouble.
  std::optional<int> culprit() const;
  /// The lowest rank that can still speak; only among those that share `space`, where one is given.
  std::optional<int> speaker(std::string_view space = {}) const;
  /// A sentence that names the culprit, then a line per rank.
  std::string text(double now) const;

 private:
  struct Row {
    RankCard card;
    Pulse pulse;
    double heard = 0;  // when the last heartbeat came
    double moved = 0;  // when the pulse last changed
    bool ever_heard = false;
    bool left = false;
    Trouble trouble = Trouble::none;
  };

  bool present(const Row& row) const { return !row.left && row.trouble == Trouble::none; }
  void accuse_stuck();
  std::string sentence(int rank, double now) const;
  std::string line(int rank, double now) const;

  Options options_;
  std::vector<Row> rows_;
};

}  // namespace tessera
