#include "trainers/run_on_ranks.h"

#include <cstdio>

#include "framework/error.h"
#include "framework/io/checkpoint.h"
#include "trainers/config/options.h"
#include "trainers/launcher.h"
#include "trainers/model_setup.h"
#include "trainers/rank.h"

namespace tessera {
namespace {

// Every setting must be the same on all ranks but where a rank computes, and with how many threads.
Facts facts_of(const Config& config) {
  Facts facts;
  for (const OptionSection& section : option_sections()) {
    for (const Option& option : section.options) {
      if (option.name != "threads" && option.name != "device") facts.emplace_back(option.name, option.text(config));
    }
  }
  return facts;
}

// Of ranks that torchrun started and NCCL cannot connect, the first one starts ranks that MPI does; all wait for those.
bool starts_ranks(const Config& config, const Rendezvous& place) {
  using Launcher = Rendezvous::Launcher;
  if (place.launcher == Launcher::torchrun) return place.world > 1 && needs_mpi(device_of(config));
  return place.launcher == Launcher::none && (config.ranks > 1 || config.max_restarts > 0);
}

// A restart goes on from the last checkpoint; where nothing was saved yet, from the start.
std::vector<std::string> words_to_go_on(const Config& config, std::vector<std::string> words) {
  if (CheckpointStore(config.out_dir, 0).latest()) words.emplace_back("--init_from=resume");
  return words;
}

}  // namespace

std::vector<std::string> words_of_this_start(std::span<const std::string> arguments) {
  std::vector<std::string> words(arguments.begin(), arguments.end());
  if (environment_variable("TORCHELASTIC_RESTART_COUNT").value_or("0") == "0") return words;
  return words_to_go_on(load_config(words).config, words);
}

int run_on_ranks(const std::string& command, std::span<const std::string> arguments, const LoadedConfig& loaded,
                 const std::function<int(std::shared_ptr<Communicator> ranks)>& work) {
  const Config& config = loaded.config;
  const Rendezvous place = find_rendezvous();
  if (starts_ranks(config, place)) {
    std::vector<std::string> words = {command};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return launch({.ranks = static_cast<int>(config.ranks),
                   .max_restarts = static_cast<int>(config.max_restarts),
                   .words = words,
                   .words_to_go_on = [&] { return words_to_go_on(config, words); }},
                  place);
  }
  expect(config.ranks == 1 || config.ranks == place.world,
         "ranks = {}, but {} were started; leave ranks away or make it {}", config.ranks, place.world, place.world);
  const RankOptions options{
      .device = device_of(config), .watchdog_seconds = config.watchdog_seconds, .facts = facts_of(config)};
  return run_as_rank(place, options, [&](std::shared_ptr<Communicator> ranks) {
    if (ranks->rank() > 0) expect(std::freopen("/dev/null", "w", stdout) != nullptr, "/dev/null cannot be opened");
    return work(std::move(ranks));
  });
}

}  // namespace tessera
