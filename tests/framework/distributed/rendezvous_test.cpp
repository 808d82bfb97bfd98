#include "framework/distributed/rendezvous.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/error.h"

namespace tessera {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Variables = std::map<std::string, std::string>;

Rendezvous place_of(const Variables& variables) {
  return find_rendezvous([&](const std::string& name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

const Variables kTorchrun = {{"RANK", "5"},        {"WORLD_SIZE", "8"},
                             {"LOCAL_RANK", "1"},  {"LOCAL_WORLD_SIZE", "4"},
                             {"MASTER_ADDR", "a"}, {"MASTER_PORT", "29400"}};

TEST(Rendezvous, WithoutALauncherAProcessIsAlone) {
  const Rendezvous place = place_of({{"MASTER_PORT", "29400"}});
  EXPECT_EQ(place.launcher, Rendezvous::Launcher::none);
  EXPECT_EQ(place.rank, 0);
  EXPECT_EQ(place.world, 1);
}

TEST(Rendezvous, ReadsTorchrun) {
  const Rendezvous place = place_of(kTorchrun);
  EXPECT_EQ(place.launcher, Rendezvous::Launcher::torchrun);
  EXPECT_EQ(place.rank, 5);
  EXPECT_EQ(place.world, 8);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.local_world, 4);
  EXPECT_EQ(place.host, "a");
  EXPECT_EQ(place.port, 29400);
  EXPECT_FALSE(place.one_host());
}

// torchrun's agent listens on MASTER_PORT itself then: a rank 0 that binds it finds it in use.
TEST(Rendezvous, LeavesThePortOfTorchrunsAgentStoreAlone) {
  Variables variables = kTorchrun;
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  EXPECT_EQ(place_of(variables).port, 29401);
}

TEST(Rendezvous, ReadsOpenMpi) {
  const Rendezvous place = place_of({{"OMPI_COMM_WORLD_RANK", "3"},
                                     {"OMPI_COMM_WORLD_SIZE", "4"},
                                     {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                     {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                                     {"SLURM_PROCID", "0"},
                                     {"SLURM_STEP_NUM_TASKS", "2"}});
  EXPECT_EQ(place.launcher, Rendezvous::Launcher::mpirun);
  EXPECT_EQ(place.rank, 3);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.local_world, 2);
  EXPECT_EQ(place.port, 0);
}

TEST(Rendezvous, RanksThatThisProgramStartedMeetAtItsPort) {
  const Rendezvous alone = place_of({{kMeetingPort, "4000"}});
  EXPECT_EQ(alone.launcher, Rendezvous::Launcher::self);
  EXPECT_EQ(alone.world, 1);
  const Rendezvous place =
      place_of({{kMeetingPort, "4000"}, {"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}});
  EXPECT_EQ(place.launcher, Rendezvous::Launcher::self);
  EXPECT_EQ(place.rank, 1);
  EXPECT_EQ(place.port, 4000);
}

TEST(Rendezvous, ReadsOtherMpis) {
  const Rendezvous place = place_of({{"PMI_RANK", "2"}, {"PMI_SIZE", "3"}});
  EXPECT_EQ(place.rank, 2);
  EXPECT_EQ(place.local_rank, 2);
  EXPECT_TRUE(place.one_host());
}

TEST(Rendezvous, ReadsSlurm) {
  Variables variables = {{"SLURM_PROCID", "9"},
                         {"SLURM_STEP_NUM_TASKS", "16"},
                         {"SLURM_LOCALID", "1"},
                         {"SLURM_STEP_TASKS_PER_NODE", "8(x2)"},
                         {"SLURM_STEP_NODELIST", "gpu[03-04]"},
                         {"SLURM_JOB_ID", "30017"}};
  const Rendezvous place = place_of(variables);
  EXPECT_EQ(place.launcher, Rendezvous::Launcher::slurm);
  EXPECT_EQ(place.rank, 9);
  EXPECT_EQ(place.local_world, 8);
  EXPECT_EQ(place.host, "gpu03");
  EXPECT_EQ(place.port, 15'017);
  for (const auto& [list, host] : Variables{{"one", "one"}, {"a7,b8", "a7"}, {"n[12,15]", "n12"}, {"n[2]", "n2"}}) {
    variables["SLURM_STEP_NODELIST"] = list;
    EXPECT_EQ(place_of(variables).host, host) << list;
  }
}

// A batch script is not a step: it has a SLURM_PROCID and the job's task count, and it runs once.
TEST(Rendezvous, ASlurmBatchScriptIsAlone) {
  EXPECT_EQ(place_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}).world, 1);
}

TEST(Rendezvous, RefusesImpossiblePlacesByName) {
  const auto with = [](const std::string& name, const std::string& value) {
    Variables variables = kTorchrun;
    variables[name] = value;
    return [variables] { place_of(variables); };
  };
  EXPECT_THAT(with("RANK", "8"), ThrowsMessage<Error>(HasSubstr("RANK wants a number from 0 to 7, got '8'")));
  EXPECT_THAT(with("WORLD_SIZE", "many"), ThrowsMessage<Error>(HasSubstr("WORLD_SIZE")));
  EXPECT_THAT(with("MASTER_PORT", "0"), ThrowsMessage<Error>(HasSubstr("MASTER_PORT")));
  EXPECT_THAT(
      [] {
        place_of({{"OMPI_COMM_WORLD_SIZE", "2"}});
      },
      ThrowsMessage<Error>(HasSubstr("OMPI_COMM_WORLD_RANK is not set")));
}

}  // namespace
}  // namespace tessera
