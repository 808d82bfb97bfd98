#include "framework/distributed/meeting.h"

#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/distributed/socket.h"

namespace tessera {
namespace {

using testing::ElementsAre;

// What a launcher that connects nothing does: the ranks know a port of rank 0, and meet there again and again.
TEST(Meeting, RanksMeetAtThePortOfTheirLauncher) {
  const int port = listen_on(0, /*other_hosts=*/false).port();
  const auto rank = [port](int number) {
    const Rendezvous place{.launcher = Rendezvous::Launcher::torchrun,
                           .rank = number,
                           .world = 3,
                           .local_rank = number,
                           .local_world = 3,
                           .host = "127.0.0.1",
                           .port = port};
    std::vector<std::vector<std::string>> heard;
    for (const char* what : {"card", "gpu", "id"}) heard.push_back(meet(place, what + std::to_string(number), 20));
    return heard;
  };
  std::vector<std::future<std::vector<std::vector<std::string>>>> ranks;
  for (const int number : {2, 0, 1}) ranks.push_back(std::async(std::launch::async, rank, number));
  for (auto& each : ranks) {
    EXPECT_THAT(each.get(), ElementsAre(ElementsAre("card0", "card1", "card2"), ElementsAre("gpu0", "gpu1", "gpu2"),
                                        ElementsAre("id0", "id1", "id2")));
  }
}

TEST(Meeting, FindsRanksThatBringTheSame) {
  EXPECT_EQ(first_equal({"a", "b", "c"}), std::nullopt);
  EXPECT_EQ(first_equal({"a", "b", "c", "b", "a"}), std::pair(1, 3));
}

}  // namespace
}  // namespace tessera
