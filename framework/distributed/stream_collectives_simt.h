// Collectives of the emulated device, whose memory and streams are the host's: what moves tensors of the host moves
// its tensors too, as work that a stream captures.
#pragma once

#include "framework/distributed/stream_communicator.h"

namespace tessera {

/// `host` does the moving.
std::unique_ptr<StreamCollectives> through_host(std::unique_ptr<Communicator> host);

}  // namespace tessera
