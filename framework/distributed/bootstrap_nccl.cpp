#include "framework/distributed/bootstrap_nccl.h"

#include <algorithm>

#include "framework/distributed/communicator_nccl.h"
#include "framework/distributed/meeting.h"
#include "framework/distributed/start_check.h"

namespace tessera {
namespace {

using Launcher = Rendezvous::Launcher;

// mpirun tells no port, and at that of `ranks = N` the launcher takes one text of each rank only.
bool meets_over_mpi(const Rendezvous& place) { return place.port == 0 || place.launcher == Launcher::self; }

// Throws unless all of `gpus` are empty or none is.
void expect_one_kind(const std::vector<std::string>& gpus) {
  for (size_t rank = 1; rank < gpus.size(); ++rank) {
    const auto kind = [&](size_t of) { return gpus[of].empty() ? "the CPU" : "a GPU"; };
    expect(gpus[rank].empty() == gpus[0].empty(),
           "rank {} computes on {} and rank 0 on {}; give every rank a GPU, or set device = cpu", rank, kind(rank),
           kind(0));
  }
}

}  // namespace

std::unique_ptr<Communicator> open_nccl_or_mpi(const Rendezvous& place, Device device,
                                               const std::function<std::unique_ptr<Communicator>()>& open_mpi) {
  std::unique_ptr<Communicator> mpi = meets_over_mpi(place) ? open_mpi() : nullptr;
  const auto gather = [&](const std::string& mine) { return mpi ? gather_texts(*mpi, mine) : meet(place, mine); };
  const std::vector<std::string> gpus = gather(device.is_cpu() ? "" : gpu_identity(device));
  expect_one_kind(gpus);
  const std::optional<std::pair<int, int>> sharing = first_equal(gpus);
  if (device.is_cpu() || sharing) {
    expect(place.launcher != Launcher::torchrun || device.is_cpu(),
           "ranks {} and {} have the same GPU, which NCCL refuses; start one rank per GPU (torchrun --nproc-per-node)",
           sharing->first, sharing->second);
    return mpi ? std::move(mpi) : open_mpi();
  }
  const std::string id = gather(place.rank == 0 ? make_nccl_id() : "").front();
  return stream_communicator(open_nccl(id, device, place.rank, place.world, std::move(mpi)), device, place.rank,
                             place.world);
}

}  // namespace tessera
