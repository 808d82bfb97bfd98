#include "framework/distributed/meeting.h"

#include <map>

#include "framework/distributed/exchange.h"

namespace tessera {

std::vector<std::string> meet(const Rendezvous& place, const std::string& text, double seconds) {
  std::optional<ExchangeHost> host;
  if (place.rank == 0 && place.launcher != Rendezvous::Launcher::self) {
    host.emplace(ExchangeHost::Options{
        .world = place.world, .port = place.port, .other_hosts = !place.one_host(), .deadline_seconds = seconds});
  }
  return exchange_texts({.host = place.host, .port = place.port, .rank = place.rank, .deadline_seconds = seconds},
                        text);
}

std::optional<std::pair<int, int>> first_equal(const std::vector<std::string>& texts) {
  std::map<std::string, int> seen;
  for (int rank = 0; rank < std::ssize(texts); ++rank) {
    const auto [before, is_new] = seen.emplace(texts[static_cast<size_t>(rank)], rank);
    if (!is_new) return std::pair(before->second, rank);
  }
  return std::nullopt;
}

}  // namespace tessera
