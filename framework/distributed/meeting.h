// The ranks of a launcher that connects nothing (torchrun, srun) meet at the port that it names, by plain TCP.
#pragma once

#include <string>
#include <vector>

#include "framework/distributed/rendezvous.h"

namespace tessera {

/// For the libraries to connect the ranks, and for the ranks to come.
inline constexpr double kStartSeconds = 60;

/// Brings `text` and returns the texts of all ranks, by rank. Rank 0 holds the port meanwhile, unless the launcher of
/// `ranks = N` does. Collective; may be repeated, but not where that launcher is the host. Throws as exchange_texts.
std::vector<std::string> meet(const Rendezvous& place, const std::string& text, double seconds = kStartSeconds);

/// Names the first two ranks whose text is the same; nothing where all differ.
std::optional<std::pair<int, int>> first_equal(const std::vector<std::string>& texts);

}  // namespace tessera
