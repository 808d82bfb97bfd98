// How ranks on GPUs find one another: over MPI where mpirun started them, else at the port that their launcher names.
#pragma once

#include <functional>
#include <memory>

#include "framework/distributed/communicator.h"
#include "framework/distributed/rendezvous.h"

namespace tessera {

/// NCCL between ranks that have a GPU of their own each. Ranks on CPUs, and ranks that share a GPU, which NCCL refuses,
/// get what `open_mpi` opens. Collective. Throws Error where some ranks are on CPUs and others on GPUs.
std::unique_ptr<Communicator> open_nccl_or_mpi(const Rendezvous& place, Device device,
                                               const std::function<std::unique_ptr<Communicator>()>& open_mpi);

}  // namespace tessera
