// On the wire: a rank sends {"tessera": 1, "rank": r, "text": …} and a line feed; the answer is {"texts": […]} or
// {"missing": […]}, up to the end of the stream. What does not look like that is no rank and is hung up on.
#include "framework/distributed/exchange.h"

#include <algorithm>
#include <chrono>

#include <nlohmann/json.hpp>

namespace tessera {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

double seconds_until(Clock::time_point moment) {
  return std::max(0.0, std::chrono::duration<double>(moment - Clock::now()).count());
}

std::string greeting(int rank, const std::string& text) {
  return Json{{"tessera", 1}, {"rank", rank}, {"text", text}}.dump() + "\n";
}

std::string listed(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank" : "ranks";
  for (const int rank : ranks) text += (rank == ranks.front() ? " " : ", ") + std::to_string(rank);
  return text;
}

}  // namespace

ExchangeHost::ExchangeHost(const Options& options)
    : options_(options),
      listener_(listen_on(options.port, options.other_hosts)),
      connections_(static_cast<size_t>(options.world)),
      texts_(static_cast<size_t>(options.world)),
      thread_([this] { serve(); }) {}

ExchangeHost::~ExchangeHost() {
  stop_ = true;
  thread_.join();
}

bool ExchangeHost::complete() const {
  const std::lock_guard lock(mutex_);
  return std::ranges::all_of(texts_, &std::optional<std::string>::has_value);
}

bool ExchangeHost::failed() const { return failed_; }

std::vector<std::optional<std::string>> ExchangeHost::texts() const {
  const std::lock_guard lock(mutex_);
  return texts_;
}

void ExchangeHost::serve() {
  constexpr double kLook = 0.05;  // seconds between looks at stop_
  const Clock::time_point deadline = after(options_.deadline_seconds);
  while (!stop_ && !complete() && Clock::now() < deadline) {
    if (Socket connection = accept_from(listener_, kLook)) welcome(std::move(connection));
  }
  if (!stop_) finish();
}

void ExchangeHost::welcome(Socket connection) {
  constexpr double kPatience = 2;  // seconds for the few bytes of a rank that has connected
  constexpr size_t kLongest = 1 << 16;
  std::string line;
  const Clock::time_point deadline = after(kPatience);
  while (!line.ends_with('\n') && line.size() < kLongest) {
    if (!connection.receive(line, seconds_until(deadline))) return;
  }
  const Json said = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!said.is_object() || !said.contains("tessera") || !said.value("text", Json()).is_string()) return;
  const int64_t rank = said.value("rank", int64_t{-1});
  if (rank < 0 || rank >= options_.world) return;
  const std::lock_guard lock(mutex_);
  texts_[static_cast<size_t>(rank)] = said["text"].get<std::string>();
  connections_[static_cast<size_t>(rank)] = std::move(connection);
}

void ExchangeHost::finish() {
  std::vector<int> absent;
  for (int rank = 0; rank < options_.world; ++rank) {
    if (!connections_[static_cast<size_t>(rank)]) absent.push_back(rank);
  }
  Json answer = {{"missing", absent}};
  if (absent.empty()) {
    answer = {{"texts", Json::array()}};
    for (const auto& text : texts()) answer["texts"].push_back(*text);
  }
  for (Socket& connection : connections_) {
    if (connection) connection.send(answer.dump());
    connection = {};
  }
  failed_ = !absent.empty();
}

RanksMissing::RanksMissing(std::vector<int> missing, double seconds)
    : Error(format_message("{} did not come within {} s; look at what they printed, and start the run again",
                           {listed(missing), seconds})),
      ranks_(std::move(missing)) {}

std::vector<std::string> exchange_texts(const ExchangePlace& place, const std::string& text) {
  // The host began to count earlier; its answer names the missing ranks.
  const double grace = std::min(5.0, place.deadline_seconds);
  constexpr auto kPause = std::chrono::milliseconds(50);
  const Clock::time_point deadline = after(place.deadline_seconds + grace);
  const std::string hello = greeting(place.rank, text);
  while (Clock::now() < deadline) {
    const Socket connection = connect_to(place.host, place.port);
    std::string answer;
    if (connection && connection.send(hello)) {
      while (connection.receive(answer, seconds_until(deadline))) continue;
    }
    const Json said = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
    if (said.is_object() && said.contains("texts")) return said["texts"].get<std::vector<std::string>>();
    if (said.is_object() && said.contains("missing"))
      throw RanksMissing(said["missing"].get<std::vector<int>>(), place.deadline_seconds);
    std::this_thread::sleep_for(kPause);
  }
  fail("rank {} did not reach rank 0 at {}:{} within {} s; check MASTER_ADDR, MASTER_PORT and the firewall", place.rank,
       place.host, place.port, place.deadline_seconds);
}

void bring_text(const ExchangePlace& place, const std::string& text) {
  if (const Socket connection = connect_to(place.host, place.port)) connection.send(greeting(place.rank, text));
}

}  // namespace tessera
