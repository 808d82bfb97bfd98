// What the program can do with a config or a run folder. Each takes the words after the command and returns the exit
// code.
#pragma once

#include <span>
#include <string>

namespace tessera {

/// Trains in the run folder that the config names.
int run_train(std::span<const std::string> arguments);
/// Validates config and data, and prints what a training will need; changes nothing.
int run_check(std::span<const std::string> arguments);
/// Trains N + N iterations with a save between, and 2N without, and compares every tensor bit for bit.
int run_verify_resume(std::span<const std::string> arguments);
/// Prints continuations of a prompt by the model of a run folder.
int run_sample(std::span<const std::string> arguments);
/// Prints training and validation loss of a run folder's model, and of a task the share of exact answers.
int run_eval(std::span<const std::string> arguments);

}  // namespace tessera
