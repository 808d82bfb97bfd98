// Which band of key tiles comes when. Bands of one head must add to dq one after the other, so bands of as many heads
// as there are slots for dq take turns: with as many slots as threads, threads seldom meet in one head.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tessera::attention {

/// Some neighbouring key tiles of one head of k.
struct BandOfKeys {
  int64_t number;  // of all bands of the call, those of one head together
  int64_t before;  // the band whose share of dq must be there first; negative: none
  int64_t head;    // b · KvH + kv
  int64_t slot;    // where dq is being summed
  int64_t first;   // key tile
  int64_t count;   // of key tiles
  bool opens;      // the first band of its head, which follows the last one of the head that had the slot before
  bool closes;     // the last band of its head
};

/// The order in which bands are started. A band always comes after the one it has to wait for.
struct BandOrder {
  int64_t heads;    // B · KvH
  int64_t k_tiles;  // per head; a head without keys still has one, empty, band
  int64_t band;     // key tiles per band
  int64_t slots;

  int64_t per_head() const { return std::max<int64_t>(1, (k_tiles + band - 1) / band); }
  int64_t size() const { return heads * per_head(); }

  BandOfKeys at(int64_t order) const {
    const int64_t bands = per_head(), round = order / (slots * bands), within = order % (slots * bands);
    const int64_t together = std::min(slots, heads - round * slots);
    const int64_t slot = within % together, index = within / together, head = round * slots + slot;
    const int64_t number = head * bands + index;
    return {.number = number,
            .before = index == 0 ? number - slots * bands + bands - 1 : number - 1,
            .head = head,
            .slot = slot,
            .first = index * band,
            .count = std::min(band, k_tiles - index * band),
            .opens = index == 0,
            .closes = index == bands - 1};
  }
};

}  // namespace tessera::attention
