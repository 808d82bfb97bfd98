// Ranks of the host between which nothing moves.
#pragma once

#include "framework/distributed/communicator.h"

namespace tessera {

class SilentCommunicator : public Communicator {
 public:
  explicit SilentCommunicator(int world) : Communicator(0, world) {}

  std::string_view transport() const override { return "silence"; }
  Ticket start_all_reduce(const Tensor&, Reduction) override { return 0; }
  Ticket start_reduce_scatter(const Tensor&) override { return 0; }
  Ticket start_all_gather(const Tensor&) override { return 0; }
  Ticket start_broadcast(const Tensor&, int) override { return 0; }
  void wait(Ticket) override {}
  void barrier() override {}
};

}  // namespace tessera
