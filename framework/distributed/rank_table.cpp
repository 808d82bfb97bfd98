#include "framework/distributed/rank_table.h"

#include <algorithm>

#include <fmt/format.h>

namespace tessera {
namespace {

bool waits_for_others(Phase phase) { return phase == Phase::reduce || phase == Phase::end; }

std::string_view word_for(Trouble trouble) {
  constexpr std::string_view kWords[] = {"waiting", "did not come", "process gone", "left with an error",
                                         "silent",  "stuck",        "disconnected"};
  return kWords[static_cast<size_t>(trouble)];
}

}  // namespace

std::string_view name_of(Phase phase) {
  constexpr std::string_view kNames[] = {"start",      "forward", "backward", "reduce", "update",
                                         "evaluation", "save",    "sample",   "end"};
  return kNames[static_cast<size_t>(phase)];
}

RankTable::RankTable(const Options& options, std::vector<RankCard> cards, double now) : options_(options) {
  for (RankCard& card : cards) rows_.push_back({.card = std::move(card), .pulse = {}, .heard = now, .moved = now});
}

void RankTable::hear(int rank, const Pulse& pulse, double now) {
  Row& row = rows_[static_cast<size_t>(rank)];
  if (pulse.beats < row.pulse.beats) return;  // datagrams may overtake one another
  if (pulse.beats > row.pulse.beats) row.moved = now;
  row.pulse = pulse;
  row.heard = now;
  row.ever_heard = true;
}

void RankTable::accuse(int rank, Trouble trouble) {
  Row& row = rows_[static_cast<size_t>(rank)];
  if (row.trouble == Trouble::none) row.trouble = trouble;
}

void RankTable::forgive(double now) {
  for (Row& row : rows_) row.heard = row.moved = now;
}

bool RankTable::judge(double now) {
  bool moves = false;
  bool works = false;
  for (Row& row : rows_) {
    if (!present(row)) continue;
    // A rank whose first heartbeat never came may sit behind a firewall: only that it moves counts then.
    if (row.ever_heard && now - row.heard > options_.silence_seconds) row.trouble = Trouble::silent;
    moves |= now - row.moved <= options_.stuck_seconds;
    works = true;
  }
  if (options_.stuck_seconds > 0 && works && !moves && !culprit()) accuse_stuck();
  return culprit().has_value();
}

// Those that wait for others are victims, unless all wait.
void RankTable::accuse_stuck() {
  const bool all_wait =
      std::ranges::all_of(rows_, [&](const Row& row) { return !present(row) || waits_for_others(row.pulse.phase); });
  for (Row& row : rows_) {
    if (present(row) && (all_wait || !waits_for_others(row.pulse.phase))) row.trouble = Trouble::stuck;
  }
}

std::optional<int> RankTable::culprit() const {
  for (int rank = 0; rank < world(); ++rank) {
    if (trouble(rank) != Trouble::none) return rank;
  }
  return std::nullopt;
}

std::optional<int> RankTable::speaker(std::string_view space) const {
  for (int rank = 0; rank < world(); ++rank) {
    const Row& row = rows_[static_cast<size_t>(rank)];
    const bool alive = !row.left && (row.trouble == Trouble::none || row.trouble == Trouble::stuck ||
                                     row.trouble == Trouble::disconnected);
    if (alive && (space.empty() || row.card.space == space)) return rank;
  }
  return std::nullopt;
}

std::string RankTable::sentence(int rank, double now) const {
  const Row& row = rows_[static_cast<size_t>(rank)];
  const std::string what = [&]() -> std::string {
    switch (row.trouble) {
      case Trouble::absent: return "it did not come to the start";
      case Trouble::gone: return "its process is gone";
      case Trouble::failed: return "it left with an error";
      case Trouble::disconnected: return "its connection to the others failed";
      case Trouble::silent: return fmt::format("no sign of life for {:.0f} s", now - row.heard);
      default:
        return fmt::format("nothing has moved for {:.0f} s; raise watchdog_seconds if that is normal", now - row.moved);
    }
  }();
  return fmt::format("tessera: the run cannot go on because of rank {} of {} (host {}, step {}, {}): {}\n", rank,
                     world(), row.card.host, row.pulse.step, name_of(row.pulse.phase), what);
}

std::string RankTable::line(int rank, double now) const {
  const Row& row = rows_[static_cast<size_t>(rank)];
  const std::string_view status = row.left ? "finished" : word_for(row.trouble);
  return fmt::format("{:>6}  {:<20} {:>8} {:>9}  {:<10} {:>7.1f} s ago  {}\n", rank, row.card.host, row.card.pid,
                     row.pulse.step, name_of(row.pulse.phase), now - row.moved, status);
}

std::string RankTable::text(double now) const {
  constexpr int kMostLines = 64;
  std::string all;
  for (int rank = 0; rank < world(); ++rank) {
    if (trouble(rank) != Trouble::none) {
      all += sentence(rank, now);
      break;
    }
  }
  all += fmt::format("{:>6}  {:<20} {:>8} {:>9}  {:<10} {:>13}  {}\n", "rank", "host", "pid", "step", "phase", "moved",
                     "status");
  int lines = 0;
  for (int rank = 0; rank < world(); ++rank) {
    if (world() > kMostLines && trouble(rank) == Trouble::none && ++lines > kMostLines) continue;
    all += line(rank, now);
  }
  if (lines > kMostLines) all += fmt::format("and {} more without trouble\n", lines - kMostLines);
  return all;
}

}  // namespace tessera
