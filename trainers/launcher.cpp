#include "trainers/launcher.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "framework/distributed/exchange.h"
#include "framework/distributed/process.h"
#include "framework/distributed/rank_table.h"
#include "framework/distributed/rendezvous.h"
#include "framework/distributed/watchdog.h"
#include "framework/error.h"

namespace tessera {
namespace {

constexpr double kComingSeconds = 20;  // for the ranks of one machine to start
constexpr double kForever = 1e9;       // seconds
constexpr int kNoProgram = 127;        // what a shell says, too

volatile std::sig_atomic_t last_signal = 0;
volatile std::sig_atomic_t signal_count = 0;

void on_signal(int number) {
  last_signal = number;
  signal_count = signal_count + 1;
}

void catch_signals() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    action.sa_handler = on_signal;
    sigaction(number, &action, nullptr);
  }
}

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> beginnings) {
  return std::ranges::any_of(beginnings, [&](std::string_view beginning) { return text.starts_with(beginning); });
}

// The ranks' environment: without another launcher's places. torchrun sets OMP_NUM_THREADS=1 for its processes, which
// are not the ones that compute here.
std::vector<std::string> environment_of_ranks(int meeting_port, int farewell_port) {
  std::vector<std::string> all;
  const bool torchrun = find_rendezvous().launcher == Rendezvous::Launcher::torchrun;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    if (starts_with_any(text, {"RANK=", "WORLD_SIZE=", "LOCAL_RANK=", "LOCAL_WORLD_SIZE=", "MASTER_", "TORCHELASTIC_"}))
      continue;
    if (torchrun && text.starts_with("OMP_NUM_THREADS=")) continue;
    if (!isatty(STDOUT_FILENO) && text.starts_with("TERM=")) continue;
    all.emplace_back(text);
  }
  all.push_back(fmt::format("{}={}", kMeetingPort, meeting_port));
  all.push_back(fmt::format("{}={}", kFarewellPort, farewell_port));
  if (!isatty(STDOUT_FILENO)) all.emplace_back("TERM=dumb");  // mpirun gives ranks a terminal of their own
  return all;
}

// Ranks share cores by themselves (share_cpus), may be more than cores, may run as root in a container, and stay alive
// when one of them dies, so that they can say what happened. No other machine is asked for anything.
std::vector<std::string> command_of(const Launch& launch, const std::vector<std::string>& words) {
  std::vector<std::string> command;
  if (launch.ranks > 1) {
    command = {"mpirun",
               "--quiet",
               "--allow-run-as-root",
               "--oversubscribe",
               "--bind-to",
               "none",
               "--enable-recovery",
               "--mca",
               "plm",
               "isolated",
               "--host"};
    command.push_back(fmt::format("localhost:{}", launch.ranks));
    command.insert(command.end(), {"-n", std::to_string(launch.ranks)});
  }
  std::array<char, 4096> self{};
  const ssize_t size = readlink("/proc/self/exe", self.data(), self.size() - 1);
  expect(size > 0, "the ranks cannot be started: /proc/self/exe cannot be read");
  command.emplace_back(self.data(), static_cast<size_t>(size));
  command.insert(command.end(), words.begin(), words.end());
  return command;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// The processes of one start, and what mpirun says of itself on the way.
class Processes {
 public:
  Processes(const Launch& launch, const std::vector<std::string>& words)
      : world_(launch.ranks),
        direct_(launch.ranks == 1),
        host_({.world = launch.ranks, .deadline_seconds = kComingSeconds}),
        farewells_({.world = launch.ranks, .deadline_seconds = kForever}) {
    start(command_of(launch, words), environment_of_ranks(host_.port(), farewells_.port()));
  }
  ~Processes() {
    kill_all();
    if (errors_ >= 0) close(errors_);
  }

  /// Waits for the end; returns the exit code.
  int attend();

 private:
  void start(std::vector<std::string> command, std::vector<std::string> environment);
  void pass_on_signals();
  bool cannot_start();
  void print_absent() const;
  int agreed_code() const;
  void read_errors();
  void kill_all();

  int world_;
  bool direct_;  // the child is the rank itself
  ExchangeHost host_;
  ExchangeHost farewells_;
  int most_alive_ = 0;
  pid_t child_ = -1;
  int errors_ = -1;
  std::string line_;
  int passed_on_ = 0;
};

void Processes::start(std::vector<std::string> command, std::vector<std::string> environment) {
  std::vector<char*> arguments = pointers_to(command);
  std::vector<char*> variables = pointers_to(environment);
  int pipe_ends[2] = {-1, -1};
  if (!direct_) expect(pipe2(pipe_ends, O_CLOEXEC) == 0, "the ranks cannot be started: {}", std::strerror(errno));
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // ranks whose mpirun died become children of this process
  child_ = fork();
  expect(child_ >= 0, "the ranks cannot be started: {}", std::strerror(errno));
  if (child_ == 0) {
    setpgid(0, 0);  // the terminal's Ctrl-C comes here once, to be passed on
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (!direct_) {
      dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
      dup2(pipe_ends[1], STDERR_FILENO);
    }
    execvpe(arguments.front(), arguments.data(), variables.data());
    _exit(kNoProgram);
  }
  if (pipe_ends[1] >= 0) close(pipe_ends[1]);
  errors_ = pipe_ends[0];
}

// Passes on what the ranks write to stderr, without mpirun's remark that its own library does not know a dead rank.
void Processes::read_errors() {
  constexpr int kPauseMilliseconds = 50;
  pollfd wanted{.fd = errors_, .events = POLLIN, .revents = 0};
  if (poll(&wanted, 1, kPauseMilliseconds) <= 0) return;
  std::array<char, 4096> part;
  const ssize_t got = read(errors_, part.data(), part.size());
  if (got > 0) line_.append(part.data(), static_cast<size_t>(got));
  else if (got == 0 || errno != EINTR) errors_ = (close(errors_), -1);
  for (size_t end = 0; (end = line_.find('\n')) != std::string::npos; line_.erase(0, end + 1)) {
    const std::string line = line_.substr(0, end + 1);
    if (line.find("] PMIX ERROR:") == std::string::npos) fmt::print(stderr, "{}", line);
  }
}

void Processes::pass_on_signals() {
  if (signal_count == passed_on_) return;
  passed_on_ = signal_count;
  if (passed_on_ > 1) return kill_all();
  const std::vector<pid_t> ranks = direct_ ? std::vector<pid_t>{child_} : children_of(child_);
  for (const pid_t rank : ranks) kill(rank, last_signal);
}

// Until the ranks watch one another, this process watches over their coming.
bool Processes::cannot_start() {
  if (direct_ || host_.complete()) return false;
  const auto alive = static_cast<int>(children_of(child_).size());
  most_alive_ = std::max(most_alive_, alive);
  return host_.failed() || (most_alive_ == world_ && alive < world_ && !host_.complete());
}

void Processes::print_absent() const {
  std::vector<RankCard> cards;
  std::vector<int> absent;
  for (const std::optional<std::string>& text : host_.texts()) {
    if (!text) absent.push_back(static_cast<int>(cards.size()));
    cards.push_back(text ? RankCard::parse(*text) : RankCard());
  }
  RankTable table({}, cards, 0);
  for (const int rank : absent) table.accuse(rank, Trouble::absent);
  fmt::print(stderr, "{}", table.text(0));
}

int Processes::attend() {
  int status = 0;
  while (true) {
    const pid_t ended = waitpid(child_, &status, WNOHANG);
    if (ended == child_) break;
    if (errors_ >= 0) read_errors();
    else std::this_thread::sleep_for(std::chrono::milliseconds(50));
    pass_on_signals();
    if (child_ >= 0 && cannot_start()) {
      print_absent();
      kill_all();
    }
    if (child_ < 0) return kExitRankFailure;
  }
  child_ = -1;
  while (errors_ >= 0) read_errors();
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return direct_ || code == kNoProgram ? code : agreed_code();
}

// What all ranks say that they end with, or that one failed.
int Processes::agreed_code() const {
  const std::vector<std::optional<std::string>> codes = farewells_.texts();
  const bool agreed = codes.front() && std::ranges::count(codes, codes.front()) == world_;
  return agreed ? std::stoi(*codes.front()) : kExitRankFailure;
}

// mpirun first, so that it starts and reports nothing more; then whoever is left, stopped processes included.
void Processes::kill_all() {
  if (child_ > 0) {
    const std::vector<pid_t> ranks = children_of(child_);
    kill(child_, SIGKILL);
    for (const pid_t rank : ranks) kill(rank, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = -1;
  }
  constexpr auto kPause = std::chrono::milliseconds(20);
  for (std::vector<pid_t> left = children_of(getpid()); !left.empty(); left = children_of(getpid())) {
    for (const pid_t pid : left) kill(pid, SIGKILL);
    while (waitpid(-1, nullptr, WNOHANG) > 0) continue;
    std::this_thread::sleep_for(kPause);
  }
}

/// A single rank has nobody who says that it died.
bool is_failure(int code) { return code == kExitRankFailure || code > 128; }

int launch_here(const Launch& launch) {
  catch_signals();
  std::vector<std::string> words = launch.words;
  for (int restart = 0;; ++restart) {
    const int code = Processes(launch, words).attend();
    if (signal_count > 0) return code == 0 ? 0 : 128 + last_signal;
    if (code == kNoProgram)
      fail("ranks = {} needs Open MPI's mpirun; install it (apt install openmpi-bin)", launch.ranks);
    if (!is_failure(code)) return code;
    if (restart == launch.max_restarts) return kExitRankFailure;
    if (launch.words_to_go_on) words = launch.words_to_go_on();
    fmt::print(stderr, "tessera: restart {} of {}\n", restart + 1, launch.max_restarts);
  }
}

// The processes meet when the ranks have ended: the first one brings the exit code then.
int launch_for_all(Launch launch, const Rendezvous& place) {
  constexpr double kForever = 1e9;  // seconds
  expect(
      place.one_host(),
      "torchrun started ranks on several hosts without GPUs; MPI connects CPUs: use mpirun --host a,b tessera train");
  const ExchangePlace there{.host = place.host, .port = place.port, .rank = place.rank, .deadline_seconds = kForever};
  if (place.rank > 0) return std::stoi(exchange_texts(there, "").front());
  const ExchangeHost host({.world = place.world, .port = place.port, .deadline_seconds = kForever});
  launch.ranks = place.world;
  const int code = launch_here(launch);
  exchange_texts(there, std::to_string(code));
  return code;
}

}  // namespace

int launch(Launch launch, const Rendezvous& place) {
  return place.launcher == Rendezvous::Launcher::torchrun ? launch_for_all(std::move(launch), place)
                                                          : launch_here(launch);
}

}  // namespace tessera
