#include "framework/distributed/watchdog.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "framework/distributed/process.h"

namespace tessera {
namespace {

constexpr double kTick = 0.25;     // seconds between heartbeats
constexpr double kTickOfMany = 1;  // the same in a world of more than kFew
constexpr int kFew = 64;
constexpr double kAgreement = 1.5;  // seconds between noticing and leaving, in which all ranks hear of it
constexpr double kBlink = 3;        // seconds late at which this process must have been stopped itself

enum State : int64_t { kWorks, kFinished, kFailed };

// FNV-1a; never 0.
uint64_t hash_of(std::string_view text, uint64_t hash = 14695981039346656037u) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash == 0 ? 1 : hash;
}

void write_and_leave(const std::string& text) {
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t written = write(STDERR_FILENO, rest.data(), rest.size());
    if (written <= 0) break;
    rest.remove_prefix(static_cast<size_t>(written));
  }
  _exit(kExitRankFailure);
}

}  // namespace

// One datagram. All ranks run the same program, so the layout is the same.
struct Watchdog::Message {
  uint64_t run;
  int64_t rank, state, phase, step, beats;
  int64_t accused, trouble;  // whom the sender holds responsible; -1: nobody
  uint64_t reason;           // why it failed, as a hash
};

Watchdog::Watchdog(Options options)
    : options_(std::move(options)), socket_(datagram_socket()), card_(own_card(options_.towards, socket_.port())) {
  if (!options_.leave) options_.leave = write_and_leave;
  // Signals are for the thread that trains.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watchdog::~Watchdog() {
  stop_ = true;
  thread_.join();
  constexpr int kTimes = 3;  // datagrams may be lost
  if (!finished_ && table_ && own_reason() == 0) own_reason() = 1;
  for (int i = 0; i < kTimes; ++i) tell_all();
}

void Watchdog::watch(const std::vector<std::string>& cards, std::shared_ptr<const Heartbeat> heartbeat) {
  std::vector<RankCard> parsed;
  std::vector<sockaddr_in> places;
  for (const std::string& card : cards) {
    parsed.push_back(RankCard::parse(card));
    sockaddr_in place{};
    place.sin_family = AF_INET;
    place.sin_addr = address_of(parsed.back().address);
    place.sin_port = htons(static_cast<uint16_t>(parsed.back().port));
    places.push_back(place);
  }
  const std::lock_guard lock(mutex_);
  table_.emplace(
      RankTable::Options{.silence_seconds = options_.silence_seconds, .stuck_seconds = options_.stuck_seconds},
      std::move(parsed), seconds());
  places_ = std::move(places);
  heartbeat_ = std::move(heartbeat);
  reasons_.assign(cards.size(), 0);
  run_ = 0;
  for (const std::string& card : cards) run_ = hash_of(card, run_);
}

void Watchdog::follow(std::shared_ptr<const Heartbeat> heartbeat, std::shared_ptr<Connection> connection) {
  const std::lock_guard lock(mutex_);
  heartbeat_ = std::move(heartbeat);
  connection_ = std::move(connection);
}

double Watchdog::seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

void Watchdog::run() {
  double last = seconds();
  while (!stop_) {
    const double now = seconds();
    {
      const std::lock_guard lock(mutex_);
      if (now - last > kBlink && table_) table_->forgive(now);
      tick(now);
    }
    last = now;
    const double pause = places_.size() > kFew ? kTickOfMany : kTick;
    for (double end = now + pause; !stop_ && seconds() < end;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // so that the destructor need not wait
    }
  }
}

void Watchdog::tick(double now) {
  check_deadline(now);
  if (!table_) return;
  hear_all(now);
  table_->hear(options_.rank, {.phase = heartbeat_->phase(), .step = heartbeat_->step(), .beats = heartbeat_->beats()},
               now);
  if (finished_ || own_reason() != 0) return tell_all();
  check_connection(now);
  const bool agreeing = failing_since_ >= 0 && now - failing_since_ < kAgreement;
  if (failing_since_ < 0 || agreeing) look_at_processes(now);
  const bool failing = table_->judge(now);
  const bool begins = failing && failing_since_ < 0;
  if (begins) failing_since_ = now;
  tell_all();
  if (begins && connection_) {  // nobody needs it any more, and what waits in it keeps the GPU
    broken_ = connection_->failure();
    connection_->abort();
  }
  // The one that prints leaves first: to it, the others must not look as if they had died.
  const double delay = table_->speaker() == options_.rank ? kAgreement : 2 * kAgreement;
  if (failing && now - failing_since_ >= delay) end_run(now);
}

void Watchdog::check_deadline(double now) {
  if (ends_at_ < 0 || now < ends_at_) return;
  ends_at_ = -1;
  options_.leave(deadline_text_);
}

// A rank that died breaks the connections of the others: it is named, not they, if it is found in time.
void Watchdog::check_connection(double now) {
  if (!connection_ || connection_->failure().empty()) return;
  if (disconnected_since_ < 0) disconnected_since_ = now;
  if (now - disconnected_since_ > options_.silence_seconds && !table_->culprit())
    table_->accuse(options_.rank, Trouble::disconnected);
}

void Watchdog::hear_all(double now) {
  Message message;
  while (recv(socket_.descriptor(), &message, sizeof(message), 0) == ssize_t{sizeof(message)}) {
    const auto names_a_rank = [&](int64_t rank) { return rank >= 0 && rank < table_->world(); };
    if (message.run != run_ || !names_a_rank(message.rank)) continue;
    const int rank = static_cast<int>(message.rank);
    table_->hear(rank, {.phase = static_cast<Phase>(message.phase), .step = message.step, .beats = message.beats}, now);
    if (message.state == kFinished) table_->left(rank);
    if (message.state == kFailed) {
      table_->accuse(rank, Trouble::failed);
      reasons_[static_cast<size_t>(rank)] = message.reason;
    }
    if (names_a_rank(message.accused))
      table_->accuse(static_cast<int>(message.accused), static_cast<Trouble>(message.trouble));
  }
}

void Watchdog::look_at_processes(double now) {
  const auto matters = [&](int rank) { return !table_->has_left(rank) && table_->trouble(rank) == Trouble::none; };
  for (int rank = 0; rank < table_->world(); ++rank) {
    if (!matters(rank) || state_of(table_->card(rank), card_) != ProcessState::gone) continue;
    hear_all(now);  // it may have said good-bye in between
    if (matters(rank)) table_->accuse(rank, Trouble::gone);
  }
}

void Watchdog::tell_all() {
  if (!table_) return;
  const State state = finished_ ? kFinished : own_reason() != 0 ? kFailed : kWorks;
  const std::optional<int> culprit = table_->culprit();
  const Message message{.run = run_,
                        .rank = options_.rank,
                        .state = state,
                        .phase = static_cast<int64_t>(heartbeat_->phase()),
                        .step = heartbeat_->step(),
                        .beats = heartbeat_->beats(),
                        .accused = culprit.value_or(-1),
                        .trouble = static_cast<int64_t>(culprit ? table_->trouble(*culprit) : Trouble::none),
                        .reason = own_reason()};
  for (size_t rank = 0; rank < places_.size(); ++rank) {
    if (static_cast<int>(rank) == options_.rank) continue;
    sendto(socket_.descriptor(), &message, sizeof(message), MSG_NOSIGNAL,
           reinterpret_cast<const sockaddr*>(&places_[rank]), sizeof(places_[rank]));
  }
}

// The first of the survivors on each host takes care of its stopped processes: they would keep the launcher waiting
// and the GPU's memory taken.
void Watchdog::end_run(double now) {
  if (table_->speaker(card_.space) == options_.rank) {
    kill_stopped();
    release_launcher();
  }
  std::string text = table_->speaker() == options_.rank ? table_->text(now) : "";
  if (!text.empty() && !broken_.empty()) text += "tessera: " + broken_ + "\n";
  options_.leave(text);
}

void Watchdog::kill_stopped() const {
  for (int rank = 0; rank < table_->world(); ++rank) {
    const RankCard& card = table_->card(rank);
    const bool silent = table_->trouble(rank) == Trouble::silent;
    if (rank == options_.rank || !silent) continue;
    const ProcessState state = state_of(card, card_);
    if (state == ProcessState::stopped || state == ProcessState::running) kill(static_cast<pid_t>(card.pid), SIGKILL);
  }
}

// Open MPI's mpirun and daemons wait for the daemon of a host that is lost until TCP gives up, a quarter of an hour
// later.
void Watchdog::release_launcher() const {
  constexpr int kPatience = 8;  // seconds, for one that ends by itself
  constexpr std::string_view kOpenMpi[] = {"mpirun", "mpiexec", "orterun", "orted", "prterun", "prte", "prted"};
  bool lost = false;
  for (int rank = 0; rank < table_->world(); ++rank) {
    const bool elsewhere = state_of(table_->card(rank), card_) == ProcessState::unknown;
    lost |= elsewhere && table_->trouble(rank) == Trouble::silent;
  }
  if (lost && std::ranges::count(kOpenMpi, process(getppid()).name) > 0) kill_parent_later(kPatience);
}

Watchdog::Farewell Watchdog::fail(const std::string& reason) {
  constexpr double kPatience = 2 * kAgreement;
  const double end = seconds() + kPatience;
  const uint64_t mine = hash_of(reason);
  for (Farewell farewell;; std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
    const std::lock_guard lock(mutex_);
    if (!table_) return farewell;
    own_reason() = mine;
    farewell.everyone = std::ranges::count(reasons_, uint64_t{0}) == 0;
    farewell.speak = std::ranges::find(reasons_, mine) - reasons_.begin() == options_.rank;
    if (farewell.everyone || seconds() > end) return farewell;
  }
}

void Watchdog::wait_for_the_end() {
  {
    const std::lock_guard lock(mutex_);
    if (!table_) return;
  }
  const double end = seconds() + options_.silence_seconds + 4 * kAgreement;
  while (seconds() < end) std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

Watchdog::Deadline Watchdog::deadline(double seconds_from_now, std::string text) {
  const std::lock_guard lock(mutex_);
  ends_at_ = seconds() + seconds_from_now;
  deadline_text_ = std::move(text);
  return Deadline(*this);
}

Watchdog::Deadline::~Deadline() {
  const std::lock_guard lock(watchdog_->mutex_);
  watchdog_->ends_at_ = -1;
}

}  // namespace tessera
