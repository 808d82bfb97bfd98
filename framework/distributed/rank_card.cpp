#include "framework/distributed/rank_card.h"

#include <array>
#include <fstream>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "framework/distributed/process.h"
#include "framework/distributed/socket.h"
#include "framework/error.h"

namespace tessera {
namespace {

std::string pid_space() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  file >> boot;
  std::array<char, 64> target{};
  const ssize_t size = readlink("/proc/self/ns/pid", target.data(), target.size());
  return size > 0 ? boot + " " + std::string(target.data(), static_cast<size_t>(size)) : "";
}

}  // namespace

std::string RankCard::text() const {
  return nlohmann::json{{"host", host}, {"address", address}, {"port", port},
                        {"pid", pid},   {"started", started}, {"space", space}}
      .dump();
}

RankCard RankCard::parse(const std::string& text) {
  const nlohmann::json said = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  try {
    return {.host = said.at("host"),
            .address = said.at("address"),
            .port = said.at("port"),
            .pid = said.at("pid"),
            .started = said.at("started"),
            .space = said.at("space")};
  } catch (const nlohmann::json::exception&) {
    fail("a rank introduced itself with '{}', which this program does not know; start all ranks from one binary", text);
  }
}

RankCard own_card(const std::string& towards, int port) {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return {.host = name.data(),
          .address = own_address_towards(towards),
          .port = port,
          .pid = getpid(),
          .started = process(getpid()).started,
          .space = pid_space()};
}

ProcessState state_of(const RankCard& card, const RankCard& viewer) {
  if (card.space.empty() || card.space != viewer.space) return ProcessState::unknown;
  const Process found = process(static_cast<pid_t>(card.pid));
  if (found.started != card.started || found.is_gone()) return ProcessState::gone;
  return found.state == 'T' ? ProcessState::stopped : ProcessState::running;
}

}  // namespace tessera
