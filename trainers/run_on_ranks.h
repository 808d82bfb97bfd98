// A command that several ranks run together, wherever they come from: this program starts them itself (`ranks = N`),
// or it finds itself started by mpirun, torchrun or srun.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "framework/distributed/communicator.h"
#include "trainers/config/load.h"

namespace tessera {

/// The words after the command, as they hold for this start: torchrun starts ranks again with the same words after a
/// failure, and they go on from the last checkpoint.
std::vector<std::string> words_of_this_start(std::span<const std::string> arguments);

/// Runs `work` on every rank and returns the exit code. `command` and `arguments` are the words that this process was
/// called with. Only rank 0 has a standard output.
int run_on_ranks(const std::string& command, std::span<const std::string> arguments, const LoadedConfig& loaded,
                 const std::function<int(std::shared_ptr<Communicator> ranks)>& work);

}  // namespace tessera
