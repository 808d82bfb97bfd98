#include "trainers/rank.h"

#include <fmt/format.h>

#include "framework/distributed/connection.h"
#include "framework/distributed/exchange.h"
#include "framework/distributed/meeting.h"
#include "framework/distributed/watchdog.h"
#include "framework/error.h"

namespace tessera {
namespace {

constexpr double kTestSeconds = 30;  // for the first collective
constexpr const char* kStartCures =
    "look at what the other ranks printed; between hosts check that they reach one another "
    "(OMPI_MCA_btl_tcp_if_include, "
    "NCCL_SOCKET_IFNAME name the network interface)";
constexpr const char* kTestCures =
    "in a container give shared memory (docker run --shm-size=1g --ipc=host) or try OMPI_MCA_btl=self,tcp; with NCCL "
    "try "
    "NCCL_P2P_DISABLE=1, then NCCL_SHM_DISABLE=1 and NCCL_IB_DISABLE=1; OMPI_MCA_btl_tcp_if_include or "
    "NCCL_SOCKET_IFNAME names the network interface";

// True for the lowest rank that is not among `missing`, which is sorted.
bool is_first_but(const std::vector<int>& missing, int rank) {
  int first = 0;
  for (const int absent : missing) first += absent == first ? 1 : 0;
  return rank == first;
}

class Member {
 public:
  Member(const Rendezvous& place, const RankOptions& options)
      : place_(place),
        device_(options.device),
        dog_({.rank = place.rank,
              .towards = place.one_host() ? "127.0.0.1" : place.host,
              .stuck_seconds = options.watchdog_seconds}) {}

  std::shared_ptr<Communicator> join(const RankOptions& options) {
    const bool meet_early = place_.port != 0;
    if (meet_early) dog_.watch(meet(place_, dog_.card()), std::make_shared<Heartbeat>());
    std::shared_ptr<Communicator> ranks = connect();
    if (!meet_early) dog_.watch(gather_texts(*ranks, dog_.card(), device_), ranks->shared_heartbeat());
    dog_.follow(ranks->shared_heartbeat(), ranks->connection());
    test(*ranks);
    Facts facts = {{"the program", program_fingerprint()}};
    facts.insert(facts.end(), options.facts.begin(), options.facts.end());
    expect_agreement(*ranks, facts, "start all ranks with the same program, config and options", device_);
    return ranks;
  }

  Watchdog& dog() { return dog_; }

 private:
  std::shared_ptr<Communicator> connect() {
    const auto deadline =
        dog_.deadline(kStartSeconds, fmt::format("tessera: rank {} of {} waited {:.0f} s for the others to start; {}\n",
                                                 place_.rank, place_.world, kStartSeconds, kStartCures));
    std::shared_ptr<Communicator> ranks = open_communicator(device_);
    expect(ranks->world() == place_.world,
           "{} ranks were started, but {} connects {}; under Slurm start them with srun --mpi=pmix or with mpirun",
           place_.world, ranks->transport(), ranks->world());
    return ranks;
  }

  void test(Communicator& ranks) {
    const auto deadline = dog_.deadline(
        kTestSeconds, place_.rank > 0
                          ? ""
                          : fmt::format("tessera: the first all-reduce of {} ranks over {} did not end within "
                                        "{:.0f} s; {}\n",
                                        place_.world, ranks.transport(), kTestSeconds, kTestCures));
    test_collectives(ranks, device_);
  }

  Rendezvous place_;
  Device device_;
  Watchdog dog_;
};

}  // namespace

namespace {

int run_watched(const Rendezvous& place, const RankOptions& options,
                const std::function<int(std::shared_ptr<Communicator> ranks)>& work) {
  Member member(place, options);
  try {
    const int code = work(member.join(options));
    member.dog().finish();
    return code;
  } catch (const RanksMissing& error) {  // the launcher of `ranks = N` says so itself
    const bool speak = place.launcher != Rendezvous::Launcher::self && is_first_but(error.ranks(), place.rank);
    if (speak) fmt::print(stderr, "tessera: {}\n", error.what());
    return kExitRankFailure;
  } catch (const ConnectionLost& error) {  // seldom this rank's fault: the watchdog finds out whose
    member.dog().wait_for_the_end();
    fmt::print(stderr, "tessera: {}\n", error.what());
    return kExitRankFailure;
  } catch (const std::exception& error) {
    const Watchdog::Farewell farewell = member.dog().fail(error.what());
    if (farewell.speak) fmt::print(stderr, "tessera: {}\n", error.what());
    return farewell.everyone ? 1 : kExitRankFailure;
  }
}

}  // namespace

int run_as_rank(const Rendezvous& place, const RankOptions& options,
                const std::function<int(std::shared_ptr<Communicator> ranks)>& work) {
  if (place.world == 1) return work(open_communicator(options.device));
  const int code = run_watched(place, options, work);
  if (place.farewell_port != 0)
    bring_text({.host = place.host, .port = place.farewell_port, .rank = place.rank}, std::to_string(code));
  return code;
}

}  // namespace tessera
