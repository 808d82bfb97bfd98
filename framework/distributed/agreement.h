// Small things that the ranks agree on: numbers, texts, and errors that only one of them sees. All are collective.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "framework/distributed/communicator.h"
#include "framework/error.h"

namespace tessera {

/// The sum over the ranks.
double sum_over_ranks(double value, Communicator& ranks);

/// The lowest rank that says true.
std::optional<int> first_rank_where(bool condition, Communicator& ranks);

/// The text of rank `root`.
std::string broadcast_text(const std::string& text, int root, Communicator& ranks);

/// What the other ranks throw where one fails that will say why.
class FailedElsewhere : public Error {
 public:
  using Error::Error;
};

/// Calls `work` on rank 0 alone. Where it throws, every other rank throws FailedElsewhere with the same message.
void on_rank_0(const std::function<void()>& work, Communicator& ranks);

}  // namespace tessera
