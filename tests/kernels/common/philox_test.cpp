#include "kernels/common/philox.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

// The vectors that its authors publish (Random123, tests/kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, KnownAnswers) {
  struct Known {
    uint64_t key;
    Words counter, answer;
  };
  const Known table[] = {
      {0, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {~uint64_t{0}, {~0u, ~0u, ~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {0x299f31d0'a4093822,
       {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const auto& [key, counter, answer] : table) {
    const Words found = philox(key, counter);
    EXPECT_EQ(found.x, answer.x);
    EXPECT_EQ(found.y, answer.y);
    EXPECT_EQ(found.z, answer.z);
    EXPECT_EQ(found.w, answer.w);
  }
}

TEST(Philox, UniformsLieBelowOne) {
  EXPECT_EQ(uniform(0), 0.0f);
  EXPECT_EQ(uniform(~0u), 1 - 0x1p-24f);
}

}  // namespace
}  // namespace tessera
