#include "kernels/flash_attention/cpu/band_order.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace tessera::attention {
namespace {

TEST(BandOrder, CoversEveryTileOnceAndNeverWaitsForALaterBand) {
  for (const int64_t heads : {1, 2, 5}) {
    for (const int64_t tiles : {0, 1, 7, 8}) {
      for (const int64_t band : {1, 3}) {
        for (const int64_t slots : {1, 2, 5}) {
          const BandOrder order{.heads = heads, .k_tiles = tiles, .band = band, .slots = std::min(slots, heads)};
          std::set<std::pair<int64_t, int64_t>> seen;
          std::set<int64_t> started;
          std::vector<int64_t> owner(static_cast<size_t>(slots), -1);  // the head that had the slot last
          for (int64_t i = 0; i < order.size(); ++i) {
            const BandOfKeys now = order.at(i);
            for (int64_t k = now.first; k < now.first + now.count; ++k) {
              EXPECT_TRUE(seen.insert({now.head, k}).second);
            }
            EXPECT_TRUE(now.before < 0 || started.count(now.before)) << i;
            EXPECT_TRUE(started.insert(now.number).second);
            if (now.opens) {
              const int64_t previous = owner[now.slot];
              EXPECT_EQ(now.before < 0, previous < 0);
              if (previous >= 0) {
                EXPECT_EQ(now.before, (previous + 1) * order.per_head() - 1);
              }
              owner[now.slot] = now.head;
            } else {
              EXPECT_EQ(now.before, now.number - 1);
              EXPECT_EQ(owner[now.slot], now.head);
            }
          }
          EXPECT_EQ(static_cast<int64_t>(seen.size()), heads * tiles);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tessera::attention
