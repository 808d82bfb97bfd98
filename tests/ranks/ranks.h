// The communicator of the rank that runs this test program, opened once. Started by hand, the program is a world of
// one.
#pragma once

#include "framework/distributed/communicator.h"

namespace tessera {

Communicator& ranks();

}  // namespace tessera
