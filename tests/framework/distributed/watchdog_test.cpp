#include "framework/distributed/watchdog.h"

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <future>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tessera {
namespace {

using testing::HasSubstr;

// Several ranks in this process: what each would print before it left is collected.
class Ranks {
 public:
  explicit Ranks(int world, double silence_seconds = 8, double stuck_seconds = 300) : said_(world) {
    for (int rank = 0; rank < world; ++rank) {
      hearts_.push_back(std::make_shared<Heartbeat>());
      dogs_.push_back(std::make_unique<Watchdog>(Watchdog::Options{.rank = rank,
                                                                   .silence_seconds = silence_seconds,
                                                                   .stuck_seconds = stuck_seconds,
                                                                   .leave = [this, rank](const std::string& text) {
                                                                     const std::lock_guard lock(mutex_);
                                                                     if (!said_[rank]) said_[rank] = text;
                                                                     changed_.notify_all();
                                                                   }}));
    }
  }

  std::vector<std::string> cards() const {
    std::vector<std::string> all;
    for (const auto& dog : dogs_) all.push_back(dog->card());
    return all;
  }
  void watch() {
    for (size_t rank = 0; rank < dogs_.size(); ++rank) dogs_[rank]->watch(cards(), hearts_[rank]);
  }
  Watchdog& dog(int rank) { return *dogs_[rank]; }
  Heartbeat& heart(int rank) { return *hearts_[rank]; }
  std::shared_ptr<const Heartbeat> shared_heart(int rank) { return hearts_[rank]; }
  void end(int rank) { dogs_[rank].reset(); }

  /// What the rank said when it left, or nothing if it is still there after the time.
  std::optional<std::string> last_words(int rank, double seconds = 30) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return said_[rank].has_value(); });
    return said_[rank];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Heartbeat>> hearts_;
  std::vector<std::optional<std::string>> said_;
  std::vector<std::unique_ptr<Watchdog>> dogs_;  // last: they call what stands above
};

TEST(Watchdog, ARankThatLeavesWithAnErrorEndsTheOthersAndTheLowestPrints) {
  Ranks ranks(3);
  ranks.watch();
  ranks.heart(0).beat(12, Phase::reduce);
  ranks.end(0);
  EXPECT_THAT(ranks.last_words(1).value(), HasSubstr("because of rank 0 of 3"));
  EXPECT_THAT(*ranks.last_words(1), HasSubstr("step 12, reduce): it left with an error"));
  EXPECT_EQ(ranks.last_words(2), "");
}

TEST(Watchdog, AnErrorOfAllRanksIsPrintedOnceAndEndsNobodyElse) {
  Ranks ranks(3);
  ranks.watch();
  std::vector<std::future<Watchdog::Farewell>> farewells;
  for (int rank = 0; rank < 3; ++rank)
    farewells.push_back(std::async(
        std::launch::async, [&, rank] { return ranks.dog(rank).fail(rank == 1 ? "no such folder" : "no such file"); }));
  for (int rank = 0; rank < 3; ++rank) {
    const Watchdog::Farewell farewell = farewells[rank].get();
    EXPECT_TRUE(farewell.everyone) << rank;
    EXPECT_EQ(farewell.speak, rank != 2) << rank;
    EXPECT_EQ(ranks.last_words(rank, 0), std::nullopt) << rank;
  }
}

TEST(Watchdog, AnErrorOfOneRankIsItsOwn) {
  Ranks ranks(2);
  ranks.watch();
  const Watchdog::Farewell farewell = ranks.dog(1).fail("no such file");
  EXPECT_FALSE(farewell.everyone);
  EXPECT_TRUE(farewell.speak);
  EXPECT_THAT(ranks.last_words(0).value(), HasSubstr("rank 1 of 2 (host "));
}

TEST(Watchdog, ARankThatFinishedIsNotMissed) {
  Ranks ranks(2, 0.5);
  ranks.watch();
  ranks.dog(0).finish();
  ranks.end(0);
  EXPECT_EQ(ranks.last_words(1, 2), std::nullopt);
}

TEST(Watchdog, StuckRanksAreNoticed) {
  Ranks ranks(2, 8, 0.6);
  ranks.heart(0).beat(3, Phase::reduce);
  ranks.heart(1).beat(2, Phase::evaluation);
  ranks.watch();
  EXPECT_THAT(ranks.last_words(0).value(), HasSubstr("rank 1 of 2"));
  EXPECT_THAT(*ranks.last_words(0), HasSubstr("step 2, evaluation): nothing has moved"));
}

class BrokenConnection final : public Connection {
 public:
  std::string failure() override { return "NCCL failed: remote process exited"; }
  void abort() override { aborted = true; }
  std::atomic<bool> aborted = false;
};

// Nobody is found to be the cause, so the connection itself is.
TEST(Watchdog, ABrokenConnectionEndsTheRunAndIsAborted) {
  Ranks ranks(2, 0.5);
  ranks.heart(1).beat(7, Phase::reduce);
  ranks.watch();
  const auto broken = std::make_shared<BrokenConnection>();
  ranks.dog(1).follow(ranks.shared_heart(1), broken);
  EXPECT_THAT(ranks.last_words(0).value(), HasSubstr("rank 1 of 2"));
  EXPECT_THAT(*ranks.last_words(0), HasSubstr("step 7, reduce): its connection to the others failed"));
  EXPECT_EQ(ranks.last_words(1), "");
  EXPECT_TRUE(broken->aborted);
}

TEST(Watchdog, ABrokenConnectionIsToldByTheRankThatSpeaks) {
  Ranks ranks(2, 0.5);
  ranks.watch();
  ranks.dog(0).follow(ranks.shared_heart(0), std::make_shared<BrokenConnection>());
  EXPECT_THAT(ranks.last_words(0).value(), HasSubstr("tessera: NCCL failed: remote process exited\n"));
}

// The rank that died is the cause; that the others' connections broke follows from it.
TEST(Watchdog, ARankThatDiedIsNamedAndNotTheConnectionsItBroke) {
  Ranks ranks(2);
  ranks.watch();
  const auto broken = std::make_shared<BrokenConnection>();
  ranks.dog(0).follow(ranks.shared_heart(0), broken);
  ranks.end(1);
  EXPECT_THAT(ranks.last_words(0).value(), HasSubstr("because of rank 1 of 2"));
  EXPECT_TRUE(broken->aborted);
}

TEST(Watchdog, ADeadlineEndsTheRunUnlessItIsKept) {
  Ranks ranks(2);
  { const Watchdog::Deadline kept = ranks.dog(0).deadline(0.2, "too late"); }
  const Watchdog::Deadline missed = ranks.dog(1).deadline(0.2, "too late");
  EXPECT_EQ(ranks.last_words(1), "too late");
  EXPECT_EQ(ranks.last_words(0, 0.6), std::nullopt);
}

TEST(Watchdog, StrangersAreNotHeard) {
  Ranks ranks(1), others(2);
  ranks.watch();
  std::vector<std::string> cards = ranks.cards();
  cards.push_back(others.cards()[1]);
  others.dog(1).watch(cards, others.shared_heart(1));  // a list that nobody else has: another run
  others.end(1);
  EXPECT_EQ(ranks.last_words(0, 2), std::nullopt);
}

// A real rank in a process of its own, which stops or dies; `how` is a signal.
std::string words_after(int how, ProcessState expected_afterwards) {
  int to_child[2], to_parent[2];
  EXPECT_EQ(pipe(to_child) | pipe(to_parent), 0);
  const pid_t child = fork();
  const auto send = [](int end, const std::string& text) { return write(end, text.data(), text.size()); };
  const auto receive = [](int end) {
    std::string text(4096, '\0');
    text.resize(static_cast<size_t>(std::max<ssize_t>(0, read(end, text.data(), text.size()))));
    return text;
  };
  if (child == 0) {
    Watchdog dog({.rank = 1});
    send(to_parent[1], dog.card());
    dog.watch({receive(to_child[0]), dog.card()}, std::make_shared<Heartbeat>());
    while (true) pause();
  }
  std::promise<std::string> words;
  Watchdog dog({.rank = 0, .silence_seconds = 1.5, .leave = [&, said = false](const std::string& text) mutable {
                  if (!std::exchange(said, true)) words.set_value(text);
                }});
  const std::string card = receive(to_parent[0]);
  send(to_child[1], dog.card());
  dog.watch({dog.card(), card}, std::make_shared<Heartbeat>());
  std::this_thread::sleep_for(std::chrono::seconds(1));  // it is heard
  kill(child, how);
  int status = 0;
  if (how == SIGKILL) waitpid(child, &status, 0);
  auto future = words.get_future();
  EXPECT_EQ(future.wait_for(std::chrono::seconds(30)), std::future_status::ready);
  const std::string text = future.get();
  if (how != SIGKILL) waitpid(child, &status, 0);  // returns only if the watchdog killed it
  EXPECT_EQ(state_of(RankCard::parse(card), RankCard::parse(dog.card())), expected_afterwards);
  return text;
}

TEST(Watchdog, AKilledProcessIsNoticed) {
  EXPECT_THAT(words_after(SIGKILL, ProcessState::gone), HasSubstr("its process is gone"));
}

TEST(Watchdog, AStoppedProcessIsNoticedAndKilled) {
  EXPECT_THAT(words_after(SIGSTOP, ProcessState::gone), HasSubstr("no sign of life"));
}

}  // namespace
}  // namespace tessera
