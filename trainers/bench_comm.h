// `tessera bench comm`: how fast the ranks of a run add up tensors.
#pragma once

#include <span>
#include <string>

namespace tessera {

/// Prints the time and the bandwidth of an all-reduce for sizes from 4 KiB to 64 MiB. `arguments` are "comm" and
/// settings such as --ranks=4 and --device=cuda.
int run_bench(std::span<const std::string> arguments);

}  // namespace tessera
