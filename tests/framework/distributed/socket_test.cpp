#include "framework/distributed/socket.h"

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <unistd.h>

namespace tessera {
namespace {

using ::testing::Not;
using ::testing::StartsWith;

// Whether any interface leads to other machines.
bool has_a_network() {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return false;
  bool found = false;
  for (const ifaddrs* one = all; one; one = one->ifa_next) {
    if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET) continue;
    found |= ntohl(reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET;
  }
  freeifaddrs(all);
  return found;
}

TEST(Socket, StaysOnThisMachineWhereAllRanksDo) { EXPECT_EQ(own_address_towards("127.0.0.1"), "127.0.0.1"); }

// mpirun over several hosts names none of them, and a host's own name often means 127.0.1.1.
TEST(Socket, OtherMachinesGetAnAddressThatTheyReach) {
  if (!has_a_network()) GTEST_SKIP() << "no interface leads to other machines";
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  EXPECT_THAT(own_address_towards(""), Not(StartsWith("127.")));
  EXPECT_THAT(own_address_towards(name.data()), Not(StartsWith("127.")));
  EXPECT_THAT(own_address_towards("127.0.0.2"), Not(StartsWith("127.")));
}

}  // namespace
}  // namespace tessera
