// Whether a training that was saved and resumed has the bits of one that went straight through.
#pragma once

#include "trainers/trainer.h"

namespace tessera {

/// Prints a line for every tensor of weights and optimizer, and the verdict. Both trainers are of the same config.
/// Returns the exit code of verify-resume: 0, or 1 where an element differs in a bit. Collective.
int print_differences(const Trainer& straight, const Trainer& resumed);

}  // namespace tessera
