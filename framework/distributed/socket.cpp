#include "framework/distributed/socket.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <system_error>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "framework/error.h"

namespace tessera {
namespace {

std::string reason() { return std::generic_category().message(errno); }

sockaddr_in endpoint(in_addr address, int port) {
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr = address;
  where.sin_port = htons(static_cast<uint16_t>(port));
  return where;
}

const sockaddr* generic(const sockaddr_in& where) { return reinterpret_cast<const sockaddr*>(&where); }

bool ready(int descriptor, double seconds) {
  constexpr double kLongest = 1e6;  // seconds: poll counts milliseconds in an int
  pollfd wanted{.fd = descriptor, .events = POLLIN, .revents = 0};
  return poll(&wanted, 1, static_cast<int>(std::min(seconds, kLongest) * 1000)) > 0;
}

// An address that belongs to nobody (RFC 5737), for asking which interface leads away from here.
constexpr in_addr_t kElsewhere = 0xC6336401;  // 198.51.100.1

bool is_loopback(in_addr address) { return ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET; }

// The address of the interface that leads to `there`.
std::optional<in_addr> source_towards(in_addr address) {
  constexpr int kAnyPort = 9;  // nothing is sent
  const Socket probe(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in there = endpoint(address, kAnyPort);
  sockaddr_in here{};
  socklen_t size = sizeof(here);
  const bool ok = connect(probe.descriptor(), generic(there), sizeof(there)) == 0 &&
                  getsockname(probe.descriptor(), reinterpret_cast<sockaddr*>(&here), &size) == 0;
  return ok ? std::optional(here.sin_addr) : std::nullopt;
}

// Of the first interface that leads to other machines, for networks without a default route.
std::optional<in_addr> address_of_an_interface() {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return {};
  std::optional<in_addr> found;
  for (const ifaddrs* one = all; one && !found; one = one->ifa_next) {
    if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET || (one->ifa_flags & IFF_UP) == 0) continue;
    const in_addr address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr;
    if (!is_loopback(address)) found = address;
  }
  freeifaddrs(all);
  return found;
}

}  // namespace

Socket::~Socket() {
  if (descriptor_ >= 0) close(descriptor_);
}

int Socket::port() const {
  sockaddr_in where{};
  socklen_t size = sizeof(where);
  if (getsockname(descriptor_, reinterpret_cast<sockaddr*>(&where), &size) != 0) return 0;
  return ntohs(where.sin_port);
}

bool Socket::send(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool Socket::receive(std::string& bytes, double seconds) const {
  std::array<char, 4096> part;
  if (!ready(descriptor_, seconds)) return false;
  const ssize_t got = recv(descriptor_, part.data(), part.size(), 0);
  if (got <= 0) return false;
  bytes.append(part.data(), static_cast<size_t>(got));
  return true;
}

Socket listen_on(int port, bool other_hosts) {
  Socket listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  expect(bool(listener), "the ranks cannot meet: no socket: {}", reason());
  const int yes = 1;
  setsockopt(listener.descriptor(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  const sockaddr_in where = endpoint({htonl(other_hosts ? INADDR_ANY : INADDR_LOOPBACK)}, port);
  constexpr int kWaiting = 1024;
  const bool ok =
      bind(listener.descriptor(), generic(where), sizeof(where)) == 0 && listen(listener.descriptor(), kWaiting) == 0;
  expect(ok, "the ranks cannot meet at port {} of this host: {}; set MASTER_PORT to a free port", port, reason());
  return listener;
}

Socket accept_from(const Socket& listener, double seconds) {
  if (!ready(listener.descriptor(), seconds)) return {};
  return Socket(accept4(listener.descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
}

Socket connect_to(const std::string& host, int port) {
  Socket connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in where = endpoint(address_of(host), port);
  if (connect(connection.descriptor(), generic(where), sizeof(where)) != 0) return {};
  return connection;
}

Socket datagram_socket() {
  Socket datagrams(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_in where = endpoint({htonl(INADDR_ANY)}, 0);
  const bool ok = bind(datagrams.descriptor(), generic(where), sizeof(where)) == 0;
  expect(ok, "the watchdog has no socket: {}", reason());
  return datagrams;
}

in_addr address_of(const std::string& host) {
  addrinfo wanted{};
  wanted.ai_family = AF_INET;
  addrinfo* found = nullptr;
  const int status = getaddrinfo(host.c_str(), nullptr, &wanted, &found);
  expect(status == 0 && found, "the host {} of rank 0 is unknown: {}; set MASTER_ADDR to its name or address", host,
         gai_strerror(status));
  const in_addr address = reinterpret_cast<const sockaddr_in*>(found->ai_addr)->sin_addr;
  freeaddrinfo(found);
  return address;
}

std::string own_address_towards(const std::string& host) {
  const bool stays_here = host == "127.0.0.1";
  std::optional<in_addr> here;
  if (!host.empty()) here = source_towards(address_of(host));
  if (stays_here && here) return host;
  if (!here || is_loopback(*here)) here = source_towards({htonl(kElsewhere)});
  if (!here || is_loopback(*here)) here = address_of_an_interface();
  std::array<char, INET_ADDRSTRLEN> text{};
  return here ? inet_ntop(AF_INET, &*here, text.data(), text.size()) : "127.0.0.1";
}

}  // namespace tessera
