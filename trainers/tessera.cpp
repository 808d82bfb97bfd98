// The program: `tessera COMMAND [CONFIG | RUN] [--key=value ...]`.
#include <string>
#include <vector>

#include "trainers/command_line.h"

namespace {

constexpr tessera::Command kCommands[] = {
    {"config", "[CONFIG] [--key=value ...]", "print the settings that a run would use", tessera::run_config},
};

int run(std::span<const std::string> words) { return tessera::dispatch(kCommands, words); }

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  return tessera::exit_code_of(run, words);
}
