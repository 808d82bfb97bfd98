#include "framework/distributed/communicator.h"

#include <cstdlib>

#include "framework/distributed/communicator_mpi.h"

namespace tessera {
namespace {

#ifdef TESSERA_WITH_MPI
constexpr bool kHasMpi = true;
#else
constexpr bool kHasMpi = false;
#endif

class SingleCommunicator final : public Communicator {
 public:
  SingleCommunicator() : Communicator(0, 1) {}

  std::string_view transport() const override { return "nothing"; }
  Ticket start_all_reduce(const Tensor&, Reduction) override { return 0; }
  Ticket start_reduce_scatter(const Tensor&) override { return 0; }
  Ticket start_all_gather(const Tensor&) override { return 0; }
  Ticket start_broadcast(const Tensor&, int) override { return 0; }
  void wait(Ticket) override {}
  void barrier() override {}
};

/// The number of ranks that an MPI launcher says it started: Open MPI's mpirun, or one that speaks PMI.
int launched_ranks() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    if (const char* value = std::getenv(name)) return std::atoi(value);
  }
  return 1;
}

}  // namespace

std::unique_ptr<Communicator> single_communicator() { return std::make_unique<SingleCommunicator>(); }

std::unique_ptr<Communicator> open_communicator(Device) {
  const int ranks = launched_ranks();
  if (ranks <= 1) return single_communicator();
  expect(kHasMpi,
         "communicator: {} ranks were started, but this build has no MPI; install libopenmpi-dev and build again",
         ranks);
  if constexpr (kHasMpi) return open_mpi_communicator();
  return nullptr;
}

}  // namespace tessera
