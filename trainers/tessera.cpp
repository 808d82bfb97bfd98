// The program: `tessera COMMAND [CONFIG | RUN] [--key=value ...]`.
#include <string>
#include <vector>

#include "trainers/autopsy_bundle.h"
#include "trainers/bench_comm.h"
#include "trainers/command_line.h"
#include "trainers/commands.h"
#include "trainers/compare.h"

namespace {

constexpr tessera::Command kCommands[] = {
    {"train", "CONFIG [--key=value ...]", "train, in the run folder out_dir", tessera::run_train},
    {"check", "CONFIG [--key=value ...]", "validate config and data, predict memory and time; trains nothing",
     tessera::run_check},
    {"verify-resume", "CONFIG [--key=value ...]", "compare N + N resumed iterations with 2N, bit for bit",
     tessera::run_verify_resume},
    {"compare", "CONFIG --a.key=value --b.key=value ...",
     "compare two precisions or devices layer by layer over a few steps", tessera::run_compare},
    {"sample", "RUN [--key=value ...]", "continue a prompt with the model of a run folder", tessera::run_sample},
    {"replay", "BUNDLE", "run a non-finite step again and name what went wrong first", tessera::run_replay},
    {"eval", "RUN [--key=value ...]", "print the losses of the model of a run folder", tessera::run_eval},
    {"bench", "comm [--ranks=N] [--key=value ...]", "measure how fast ranks add up tensors", tessera::run_bench},
    {"config", "[CONFIG] [--key=value ...]", "print the settings that a run would use", tessera::run_config},
};

int run(std::span<const std::string> words) { return tessera::dispatch(kCommands, words); }

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  return tessera::exit_code_of(run, words);
}
