#include "trainers/command_line.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include "framework/distributed/agreement.h"
#include "framework/distributed/rendezvous.h"
#include "trainers/config/describe.h"
#include "trainers/nearest.h"
#include "trainers/say.h"
#include "trainers/stop_signal.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

constexpr const char* kVersion = TESSERA_VERSION;

// Before the ranks have met, each would say the same. Their launcher ends all once rank 0 has spoken and left; what
// only another rank has to say comes a little later.
void let_rank_0_speak() {
  constexpr auto kPatience = std::chrono::seconds(2);
  try {
    if (find_rendezvous().rank > 0) std::this_thread::sleep_for(kPatience);
  } catch (const Error&) {  // of an environment in disorder, which is what will be told
  }
}

bool is_help(std::string_view word) { return word == "--help" || word == "-h"; }

bool is_version(std::string_view word) { return word == "version" || word == "--version"; }

bool is_built_in(std::string_view word) { return word == "help" || is_help(word) || is_version(word); }

const Command* find_command(std::span<const Command> commands, std::string_view name) {
  const auto found = std::ranges::find(commands, name, &Command::name);
  return found == commands.end() ? nullptr : &*found;
}

[[noreturn]] void refuse_unknown(std::span<const Command> commands, const std::string& name) {
  std::vector<std::string> names = {"help", "version"};
  for (const Command& command : commands) names.emplace_back(command.name);
  const auto meant = nearest(name, names);
  const std::string cure = meant ? fmt::format("did you mean {}?", *meant) : "`tessera help` lists the commands";
  throw UsageError(fmt::format("unknown command {}; {}", name, cure));
}

int print_overview(std::span<const Command> commands) {
  say("tessera {}: trains transformers from a config file\n\nUsage: tessera COMMAND ...\n\n", kVersion);
  for (const Command& command : commands)
    say("  {:<48} {}\n", fmt::format("{} {}", command.name, command.arguments), command.help);
  say("  {:<48} {}\n  {:<48} {}\n", "help [COMMAND]", "this text, or a command's with every key", "version",
      "the version");
  say("\nStart with: tessera train --data=some_text.txt --n_layer=4 --n_embd=128 --n_head=4 --max_iters=2000\n");
  return 0;
}

int print_help(const Command& command) {
  say("{}\n\nUsage: tessera {} {}\n\n", command.help, command.name, command.arguments);
  if (!command.details.empty()) say("{}\n\n", command.details);
  const bool takes_keys = command.arguments.find("key=value") != command.arguments.npos;
  if (takes_keys) say("{}", options_help(command.section));
  if (takes_keys && !command.section.empty()) say("\n`tessera help train` lists every key.\n");
  return 0;
}

// After what was said before, also where both outputs go to one file.
void complain(const char* what) {
  std::fflush(stdout);
  fmt::print(stderr, "tessera: {}\n", what);
}

// Whoever closes a pipe, as `head` does, has read what he wanted.
bool reader_left() {
  pollfd output{.fd = STDOUT_FILENO, .events = 0, .revents = 0};
  return poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

// What the program did is done; but where its words are lost, that is no success.
bool output_is_lost() {
  const bool whole = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  return !whole && !reader_left();
}

}  // namespace

int dispatch(std::span<const Command> commands, std::span<const std::string> words) {
  if (words.empty()) throw UsageError("a command is missing; `tessera help` lists the commands");
  const std::string& name = words.front();
  const auto arguments = words.subspan(1);
  if (is_version(name)) {
    say("tessera {}\n", kVersion);
    return 0;
  }
  if (name == "help" || is_help(name)) {
    if (arguments.empty() || is_built_in(arguments.front())) return print_overview(commands);
    const Command* command = find_command(commands, arguments.front());
    if (!command) refuse_unknown(commands, arguments.front());
    return print_help(*command);
  }
  const Command* command = find_command(commands, name);
  if (!command) refuse_unknown(commands, name);
  return std::ranges::any_of(arguments, is_help) ? print_help(*command) : command->run(arguments);
}

int run_config(std::span<const std::string> arguments) {
  if (arguments.size() == 1 && arguments.front() == "--markdown") {
    say("{}", options_markdown());
    return 0;
  }
  const LoadedConfig loaded = load_config(arguments);
  for (const std::string& notice : loaded.notices) fmt::print(stderr, "{}\n", notice);
  say("{}", effective_config(loaded));
  return 0;
}

int exit_code_of(int (*program)(std::span<const std::string> words), std::span<const std::string> words) {
  constexpr int kFailure = 1, kUsage = 2;
  explain_shortened_files();
  try {
    const int code = program(words);
    if (code != 0 || !output_is_lost()) return code;
    complain("the standard output could not be written to its end; make room where it goes, or send it elsewhere");
  } catch (const UsageError& error) {
    let_rank_0_speak();
    complain(error.what());
    return kUsage;
  } catch (const FailedElsewhere&) {  // the rank that failed says why
    return kFailure;
  } catch (const std::bad_alloc&) {
    complain("out of memory; try a smaller batch_size or block_size");
  } catch (const std::exception& error) {
    let_rank_0_speak();
    complain(error.what());
  }
  return kFailure;
}

}  // namespace tessera
