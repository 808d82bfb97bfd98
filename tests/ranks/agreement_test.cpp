#include "framework/distributed/agreement.h"

#include <gtest/gtest.h>

#include "tests/ranks/ranks.h"
#include "tests/temporary_folder.h"

namespace tessera {
namespace {

TEST(Agreement, AddsUp) { EXPECT_EQ(sum_over_ranks(0.25, ranks()), 0.25 * ranks().world()); }

TEST(Agreement, FindsTheFirstRank) {
  EXPECT_EQ(first_rank_where(false, ranks()), std::nullopt);
  EXPECT_EQ(first_rank_where(ranks().rank() >= ranks().world() / 2, ranks()), ranks().world() / 2);
}

TEST(Agreement, ATextComesToAll) {
  const int last = ranks().world() - 1;
  EXPECT_EQ(broadcast_text("of rank " + std::to_string(ranks().rank()), last, ranks()),
            "of rank " + std::to_string(last));
  EXPECT_EQ(broadcast_text("", 0, ranks()), "");
}

TEST(Agreement, WhatRank0ThrowsAllThrow) {
  int calls = 0;
  on_rank_0([&] { ++calls; }, ranks());
  EXPECT_EQ(calls, ranks().rank() == 0 ? 1 : 0);
  EXPECT_EQ(message_of([] { on_rank_0([] { throw Error("the folder is full"); }, ranks()); }), "the folder is full");
}

}  // namespace
}  // namespace tessera
