#include "framework/distributed/communicator.h"

#include "framework/distributed/communicator_mpi.h"
#include "framework/distributed/rendezvous.h"

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

}  // namespace

std::unique_ptr<Communicator> single_communicator() { return std::make_unique<SingleCommunicator>(); }

std::unique_ptr<Communicator> open_communicator(Device) {
  const Rendezvous place = find_rendezvous();
  if (place.world <= 1) return single_communicator();
  expect(
      place.launcher != Rendezvous::Launcher::torchrun,
      "communicator: torchrun does not start MPI, which connects ranks that compute on CPUs; start them with mpirun");
  expect(kHasMpi,
         "communicator: {} ranks were started, but this build has no MPI; install libopenmpi-dev and build again",
         place.world);
  if constexpr (kHasMpi) return open_mpi_communicator();
  return nullptr;
}

}  // namespace tessera
