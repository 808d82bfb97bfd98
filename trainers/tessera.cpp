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
    {"compare", "CONFIG --b.key=value ...", "compare two precisions or devices layer by layer over a few steps",
     tessera::run_compare, "Precision",
     "--b.key=value holds for b alone, --a.key=value for a, which is the reference and computes in float32 or "
     "float64;\n"
     "--key=value holds for both, and most keys must. --steps=N compares so many steps, 3 if it is not said."},
    {"sample", "RUN [--key=value ...]", "continue a prompt with the model of a run folder", tessera::run_sample,
     "Sampling"},
    {"replay",
     "RUN/autopsy_...",
     "run a non-finite step again and name what went wrong first",
     tessera::run_replay,
     {},
     "The folder autopsy_... was written by the training, which said so."},
    {"eval", "RUN [--key=value ...]", "print training and validation loss of a run folder's model", tessera::run_eval},
    {"bench", "comm [--ranks=N] [--key=value ...]", "measure how fast ranks add up tensors", tessera::run_bench,
     "Several ranks"},
    {"config", "[CONFIG] [--key=value ...]", "print the settings that a run would use", tessera::run_config},
};

int run(std::span<const std::string> words) { return tessera::dispatch(kCommands, words); }

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  return tessera::exit_code_of(run, words);
}
