// Where this process stands among the ranks of its run, as the launcher's environment variables say: torchrun, mpirun
// (Open MPI, or any that sets PMI's), Slurm's srun, and this program itself (`ranks = N`). Without one of them a
// process is a world of its own.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace tessera {

/// The place of a process, and where rank 0 can be met before any library connects the ranks.
struct Rendezvous {
  enum class Launcher { none, self, torchrun, mpirun, slurm };

  Launcher launcher = Launcher::none;
  int rank = 0;
  int world = 1;
  int local_rank = 0;     ///< among the ranks of this host; chooses the GPU
  int local_world = 1;    ///< ranks of this host; shares its cores
  std::string host = {};  ///< where the ranks meet; empty under mpirun, where MPI itself connects them
  int port = 0;           ///< a TCP port of `host` that belongs to this run; 0: none is known

  int farewell_port = 0;  ///< where the launcher wants to know the exit code; 0: nowhere

  /// True where every rank runs on this host.
  bool one_host() const { return local_world == world; }
};

/// Looks a variable up; nothing where it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// The variables of this process.
std::optional<std::string> environment_variable(const std::string& name);

/// Set by the launcher of `ranks = N` for its ranks: the port of this host where they meet.
inline constexpr const char* kMeetingPort = "TESSERA_MEETING_PORT";
/// And the one where each tells its exit code, which mpirun keeps to itself.
inline constexpr const char* kFarewellPort = "TESSERA_FAREWELL_PORT";

/// Reads, in this order: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT; OMPI_COMM_WORLD_*;
/// PMI_RANK and PMI_SIZE; SLURM_PROCID with SLURM_STEP_NUM_TASKS, which only srun sets (a batch script has a
/// SLURM_PROCID, too, and is alone). Under torchrun's agent store MASTER_PORT is taken, so the next port is used.
/// Throws Error that names the variable when a number is missing or impossible.
Rendezvous find_rendezvous(const Environment& variable = environment_variable);

}  // namespace tessera
