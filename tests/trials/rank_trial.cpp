// `tessera train` with a fault in it, for scripts/rank_trials: TESSERA_FAULT = "RANK PHASE STEP ACTION [FILE]" makes
// that rank kill itself, stop or exit when it is in that phase of that step; where FILE is named, only once: the rank
// makes it, and does nothing where it exists. The program starts its ranks as the real one does.
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include "framework/distributed/rank_table.h"
#include "framework/distributed/rendezvous.h"
#include "framework/error.h"
#include "trainers/command_line.h"
#include "trainers/run_on_ranks.h"
#include "trainers/train_run.h"

namespace tessera {
namespace {

struct Fault {
  int rank = -1;
  std::string phase;
  int64_t step = 0;  // in the phase start: milliseconds from the beginning of the process
  std::string action;
  std::string once;

  static Fault of_environment() {
    Fault fault;
    std::istringstream(environment_variable("TESSERA_FAULT").value_or("")) >> fault.rank >> fault.phase >> fault.step >>
        fault.action >> fault.once;
    return fault;
  }

  bool is_here() const { return rank == find_rendezvous().rank && environment_variable(kMeetingPort); }

  void happen() const {
    if (!once.empty() && open(once.c_str(), O_CREAT | O_EXCL, 0666) < 0) return;
    if (action == "kill") kill(getpid(), SIGKILL);
    else if (action == "stop") kill(getpid(), SIGSTOP);
    else if (action == "exit") _exit(3);
    else fail("TESSERA_FAULT: unknown action {}", action);
  }
};

int train(std::span<const std::string> words) {
  const Fault fault = Fault::of_environment();
  if (fault.is_here() && fault.phase == "start") {
    std::thread([=] {
      std::this_thread::sleep_for(std::chrono::milliseconds(fault.step));
      fault.happen();
    }).detach();
  }
  const std::vector<std::string> arguments = words_of_this_start(words.subspan(1));
  const LoadedConfig loaded = load_config(arguments);
  return run_on_ranks("train", arguments, loaded, [&](std::shared_ptr<Communicator> ranks) {
    if (fault.is_here() && fault.phase != "start") {
      // In the thread that trains: a step is too short for another thread to meet each of its phases.
      ranks->heartbeat().listen([=](int64_t step, Phase phase) {
        if (step >= fault.step && name_of(phase) == fault.phase) fault.happen();
      });
    }
    return TrainRun(loaded, std::move(ranks)).run();
  });
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  return tessera::exit_code_of(tessera::train, words);
}
