// Collectives of MPI on host memory, the library opened when the first communicator is.
#pragma once

#include "framework/distributed/communicator.h"

namespace tessera {

/// All ranks of MPI's world. One thread of its own makes every call of MPI, so collectives go on while the caller
/// computes. Tensors of a GPU travel through host memory. Ends MPI when it is destroyed, unless an exception is on its
/// way: then the launcher ends the other ranks.
std::unique_ptr<Communicator> open_mpi_communicator();

}  // namespace tessera
