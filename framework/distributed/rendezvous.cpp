#include "framework/distributed/rendezvous.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "framework/error.h"

namespace tessera {
namespace {

constexpr int kMostRanks = 1 << 20;
constexpr int kDefaultPort = 29500;

// The number in a variable, between `low` and `high`; `otherwise` where it is not set.
int number(const Environment& variable, const char* name, int low, int high, std::optional<int> otherwise = {}) {
  const std::optional<std::string> text = variable(name);
  expect(text || otherwise, "{} is not set although its companions are; start the ranks with torchrun, mpirun or srun",
         name);
  if (!text) return *otherwise;
  int value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  expect(error == std::errc() && end == text->data() + text->size() && value >= low && value <= high,
         "{} wants a number from {} to {}, got '{}'; start the ranks with torchrun, mpirun or srun", name, low, high,
         *text);
  return value;
}

// Rank and world by one launcher's names; where it does not count per host, the whole world is on this one.
Rendezvous read(const Environment& variable, Rendezvous::Launcher launcher, const char* rank, const char* world,
                const char* local_rank, const char* local_world) {
  Rendezvous place{.launcher = launcher};
  place.world = number(variable, world, 1, kMostRanks);
  place.rank = number(variable, rank, 0, place.world - 1);
  place.local_world = number(variable, local_world, 1, place.world, place.world);
  place.local_rank = number(variable, local_rank, 0, place.local_world - 1, place.rank % place.local_world);
  return place;
}

Rendezvous of_torchrun(const Environment& variable) {
  Rendezvous place =
      read(variable, Rendezvous::Launcher::torchrun, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE");
  place.host = variable("MASTER_ADDR").value_or("127.0.0.1");
  place.port = number(variable, "MASTER_PORT", 1, 65534, kDefaultPort);
  if (variable("TORCHELASTIC_USE_AGENT_STORE") == "True") ++place.port;
  return place;
}

Rendezvous of_mpirun(const Environment& variable) {
  return read(variable, Rendezvous::Launcher::mpirun, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
              "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE");
}

// A single rank is started without mpirun.
Rendezvous of_self(const Environment& variable) {
  Rendezvous place = variable("OMPI_COMM_WORLD_SIZE") ? of_mpirun(variable) : Rendezvous();
  place.launcher = Rendezvous::Launcher::self;
  place.host = "127.0.0.1";
  place.port = number(variable, kMeetingPort, 1, 65535);
  place.farewell_port = number(variable, kFarewellPort, 0, 65535, 0);
  return place;
}

// The first host of a list such as "gpu[03-05,9],login": gpu03.
std::string first_host(const std::string& list) {
  const size_t end = list.find_first_of(",[");
  std::string host = list.substr(0, end);
  if (end == std::string::npos || list[end] == ',') return host;
  return host + list.substr(end + 1, list.find_first_of("-,]", end) - end - 1);
}

// srun says "4(x2),3" for tasks per node: the first number, exact where all nodes are alike. The job's number keeps the
// ports of two jobs on one host apart.
Rendezvous of_slurm(const Environment& variable) {
  Rendezvous place{.launcher = Rendezvous::Launcher::slurm};
  place.world = number(variable, "SLURM_STEP_NUM_TASKS", 1, kMostRanks);
  place.rank = number(variable, "SLURM_PROCID", 0, place.world - 1);
  place.local_rank = number(variable, "SLURM_LOCALID", 0, place.world - 1);
  const std::string tasks = variable("SLURM_STEP_TASKS_PER_NODE").value_or("");
  int local_world = place.world;
  std::from_chars(tasks.data(), tasks.data() + tasks.size(), local_world);
  place.local_world = std::max(local_world, place.local_rank + 1);
  for (const char* name : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"}) {
    if (place.host.empty()) place.host = first_host(variable(name).value_or(""));
  }
  constexpr int kFirstPort = 15'000, kPorts = 15'000;
  place.port = kFirstPort + number(variable, "SLURM_JOB_ID", 0, 2'147'483'647, 0) % kPorts;
  place.port = number(variable, "MASTER_PORT", 1, 65535, place.port);
  return place;
}

}  // namespace

std::optional<std::string> environment_variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

Rendezvous find_rendezvous(const Environment& variable) {
  using Launcher = Rendezvous::Launcher;
  if (variable(kMeetingPort)) return of_self(variable);
  if (variable("RANK") && variable("WORLD_SIZE")) return of_torchrun(variable);
  if (variable("OMPI_COMM_WORLD_SIZE")) return of_mpirun(variable);
  if (variable("PMI_SIZE")) {
    return read(variable, Launcher::mpirun, "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS");
  }
  if (variable("SLURM_STEP_NUM_TASKS") && variable("SLURM_PROCID")) return of_slurm(variable);
  return {};
}

}  // namespace tessera
