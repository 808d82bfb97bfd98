#include "framework/distributed/exchange.h"

#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/error.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::future<std::vector<std::string>> come(int port, int rank, const std::string& text) {
  return std::async(std::launch::async,
                    [=] { return exchange_texts({.port = port, .rank = rank, .deadline_seconds = 20}, text); });
}

TEST(Exchange, EveryRankGetsAllTexts) {
  const ExchangeHost host({.world = 3});
  auto b = come(host.port(), 1, "b\n\"");
  auto c = come(host.port(), 2, "");
  auto a = come(host.port(), 0, std::string(5000, 'a'));
  const auto expected = ElementsAre(std::string(5000, 'a'), "b\n\"", "");
  EXPECT_THAT(a.get(), expected);
  EXPECT_THAT(b.get(), expected);
  EXPECT_THAT(c.get(), expected);
  EXPECT_TRUE(host.complete());
  EXPECT_FALSE(host.failed());
}

TEST(Exchange, ATextCanBeLeftThere) {
  const ExchangeHost host({.world = 2});
  bring_text({.port = host.port(), .rank = 1}, "75");
  while (!host.texts()[1]) std::this_thread::yield();
  EXPECT_THAT(host.texts(), ElementsAre(std::nullopt, "75"));
}

TEST(Exchange, ARankMayComeBeforeTheHost) {
  const int port = listen_on(0, false).port();  // free again at the end of this line
  auto a = come(port, 0, "a");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const ExchangeHost host({.world = 1, .port = port});
  EXPECT_THAT(a.get(), ElementsAre("a"));
}

TEST(Exchange, NamesTheMissingRanks) {
  const ExchangeHost host({.world = 4, .deadline_seconds = 0.3});
  auto b = come(host.port(), 1, "b");
  EXPECT_THAT([&] { b.get(); }, ThrowsMessage<RanksMissing>(HasSubstr("ranks 0, 2, 3 did not come")));
  while (!host.failed()) std::this_thread::yield();
  EXPECT_FALSE(host.complete());
  EXPECT_THAT(host.texts(), ElementsAre(std::nullopt, "b", std::nullopt, std::nullopt));
}

TEST(Exchange, HangsUpOnStrangers) {
  const ExchangeHost host({.world = 1});
  for (const char* words : {"GET / HTTP/1.1\r\n\r\n", "{}\n", "{\"tessera\":1,\"rank\":1,\"text\":\"x\"}\n",
                            "{\"tessera\":1,\"rank\":0,\"text\":7}\n"}) {
    const Socket stranger = connect_to("127.0.0.1", host.port());
    ASSERT_TRUE(stranger && stranger.send(words));
    std::string answer;
    EXPECT_FALSE(stranger.receive(answer, 10)) << words;
  }
  EXPECT_THAT(come(host.port(), 0, "a").get(), ElementsAre("a"));
}

TEST(Exchange, AHostThatNobodyHearsIsNamed) {
  const int port = listen_on(0, false).port();
  EXPECT_THAT([&] { exchange_texts({.port = port, .rank = 2, .deadline_seconds = 0.1}, ""); },
              ThrowsMessage<Error>(HasSubstr("rank 2 did not reach rank 0 at 127.0.0.1:")));
}

TEST(Exchange, ATakenPortIsNamed) {
  const Socket owner = listen_on(0, false);
  EXPECT_THAT([&] { ExchangeHost({.world = 1, .port = owner.port()}); },
              ThrowsMessage<Error>(HasSubstr("set MASTER_PORT to a free port")));
}

}  // namespace
}  // namespace tessera
