// NCCL, its library opened when the first communicator is.
#pragma once

#include <string>

#include "framework/distributed/stream_communicator.h"

namespace tessera {

/// What rank 0 gives to the others so that they find it, as hexadecimal digits.
std::string make_nccl_id();

/// Names the GPU, as no other one anywhere is named.
std::string gpu_identity(Device device);

/// NCCL's collectives of rank `rank` on the GPU `device`. Returns when all `world` ranks have called it with the id
/// that rank 0 made. `bootstrap` is what brought the id and lives as long as they do.
std::unique_ptr<StreamCollectives> open_nccl(const std::string& id, Device device, int rank, int world,
                                             std::unique_ptr<Communicator> bootstrap = nullptr);

}  // namespace tessera
