// Sockets with an owner, for the few bytes that ranks tell one another outside of the communication library.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <netinet/in.h>

namespace tessera {

/// A socket's descriptor, closed with its owner.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket();
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }

  int descriptor() const { return descriptor_; }
  explicit operator bool() const { return descriptor_ >= 0; }
  /// The port it is bound to; 0 where it is none.
  int port() const;

  /// Sends all bytes; false where the other side is gone.
  bool send(std::string_view bytes) const;
  /// Appends what arrives within `seconds` to `bytes`; false at the end of the stream, after an error or that time.
  bool receive(std::string& bytes, double seconds) const;

 private:
  int descriptor_ = -1;
};

/// Listens on a port (0: any free one) of every interface, or of this machine alone. Throws Error where it is in use.
Socket listen_on(int port, bool other_hosts);
/// The next connection within `seconds`, or none.
Socket accept_from(const Socket& listener, double seconds);
/// A connection to `host:port`; none where nobody listens there.
Socket connect_to(const std::string& host, int port);

/// A datagram socket on a free port of every interface, that never blocks.
Socket datagram_socket();
/// The first IPv4 address of a host's name. Throws Error where the name is unknown.
in_addr address_of(const std::string& host);
/// The address by which this machine is seen from `host`: that of the interface which leads there. Where `host` is
/// empty or this machine's own name, the one by which other machines see it.
std::string own_address_towards(const std::string& host);

}  // namespace tessera
