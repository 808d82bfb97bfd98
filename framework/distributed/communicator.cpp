#include "framework/distributed/communicator.h"

#include "framework/distributed/bootstrap_nccl.h"
#include "framework/distributed/communicator_mpi.h"
#include "framework/distributed/rendezvous.h"
#include "framework/distributed/stream_collectives_simt.h"

namespace tessera {
namespace {

#ifdef TESSERA_WITH_MPI
constexpr bool kHasMpi = true;
#else
constexpr bool kHasMpi = false;
#endif
#ifdef TESSERA_WITH_NCCL
constexpr bool kHasNccl = true;
#else
constexpr bool kHasNccl = false;
#endif
#ifdef TESSERA_SIMT
constexpr bool kEmulatesGpus = true;
#else
constexpr bool kEmulatesGpus = false;
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

std::unique_ptr<Communicator> open_mpi(const Rendezvous& place) {
  expect(place.launcher != Rendezvous::Launcher::torchrun,
         "communicator: torchrun does not start MPI, which connects ranks that have no GPU of their own; start them "
         "with mpirun");
  expect(kHasMpi,
         "communicator: {} ranks were started, but this build has no MPI; install libopenmpi-dev and build again",
         place.world);
  if constexpr (kHasMpi) return open_mpi_communicator();
  return nullptr;
}

}  // namespace

std::unique_ptr<Communicator> single_communicator() { return std::make_unique<SingleCommunicator>(); }

bool needs_mpi(Device device) { return device.is_cpu() || !kHasNccl; }

std::unique_ptr<Communicator> open_communicator(Device device) {
  const Rendezvous place = find_rendezvous();
  if (place.world <= 1) return single_communicator();
  if constexpr (kHasNccl) return open_nccl_or_mpi(place, device, [&] { return open_mpi(place); });
  std::unique_ptr<Communicator> ranks = open_mpi(place);
  if constexpr (kEmulatesGpus) {
    const int rank = ranks->rank(), world = ranks->world();
    if (!device.is_cpu()) return stream_communicator(through_host(std::move(ranks)), device, rank, world);
  }
  return ranks;
}

}  // namespace tessera
