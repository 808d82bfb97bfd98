// Who sees whom: causal line, window, mask and segments, asked of whole tiles first, so that hidden tiles are skipped
// and plain ones pay nothing, and of single scores only where a tile is mixed.
#pragma once

#include "kernels/flash_attention/attention_options.h"
#include "kernels/flash_attention/cpu/tile.h"

namespace tessera::attention {

/// The axis that runs along the rows of a score tile; the other one is its outer axis.
enum class Lanes { queries, keys };

/// Which scores a tile holds, and how they lie.
template <Lanes L>
struct TilePlace {
  int64_t b;
  int64_t h;
  Range queries;
  Range keys;

  Range along() const { return L == Lanes::queries ? queries : keys; }
  Range across() const { return L == Lanes::queries ? keys : queries; }
};

/// How much of a tile is visible.
enum class Sight { none, some, all };

class Visibility {
 public:
  Visibility(const AttentionOptions& options, int64_t queries, int64_t keys);

  /// What the causal line and the window leave to these queries: no key outside the range is seen by any.
  Range keys_of(Range queries) const;

  /// Likewise the queries that may see one of these keys.
  Range queries_of(Range keys) const;

  template <Lanes L>
  Sight sight(const TilePlace<L>& place) const;

  /// Sets the hidden scores of a tile to −∞, also those that no strip covers.
  template <Lanes L, class A>
  void hide(const TilePlace<L>& place, Tile<A> scores) const;

  /// Calls `body(across, along)` for the parts of a tile that are worth computing, relative to its corner: the whole
  /// tile, or where the causal line or the window cuts it, strips whose lanes stop (in whole lanes) where sight stops.
  template <Lanes L, class Body>
  void each_strip(const TilePlace<L>& place, Body&& body) const {
    const Range across = place.across(), along = place.along();
    const int64_t padded = round_up(along.size(), kTileLanes);
    if (position(place) == Sight::all) return body(Range{0, across.size()}, Range{0, padded});
    for (int64_t first = across.begin; first < across.end; first += kStrip) {
      const Range strip{first, std::min(first + kStrip, across.end)};
      const int64_t begin = std::max(seen<L>(strip.begin).begin - along.begin, int64_t{0}) / kTileLanes * kTileLanes;
      const int64_t end = round_up(std::min(seen<L>(strip.end - 1).end - along.begin, padded), kTileLanes);
      if (begin < end) body(Range{strip.begin - across.begin, strip.end - across.begin}, Range{begin, end});
    }
  }

 private:
  static constexpr int64_t kStrip = 32;

  template <Lanes L>
  Sight position(const TilePlace<L>& place) const {
    const int64_t least = place.keys.begin - (place.queries.end - 1 + offset_);  // of j − p over the tile
    const int64_t most = place.keys.end - 1 - (place.queries.begin + offset_);
    if (least > right_ || most < -left_) return Sight::none;
    return least >= -left_ && most <= right_ ? Sight::all : Sight::some;
  }
  template <Lanes L>
  Sight segment(const TilePlace<L>& place) const;
  template <Lanes L>
  Sight mask(const TilePlace<L>& place) const;

  /// The lanes that outer position `at` sees by position alone; not clipped to any tile.
  template <Lanes L>
  Range seen(int64_t at) const {
    return L == Lanes::keys ? Range{at + offset_ - left_, at + offset_ + right_ + 1}
                            : Range{at - offset_ - right_, at - offset_ + left_ + 1};
  }

  template <Lanes L, class A>
  void hide_by_position(const TilePlace<L>& place, Tile<A> scores) const;
  template <Lanes L, class A>
  void hide_by_segment(const TilePlace<L>& place, Tile<A> scores) const;
  template <Lanes L, class A>
  void hide_by_mask(const TilePlace<L>& place, Tile<A> scores) const;

  int64_t queries_;
  int64_t keys_;
  int64_t offset_;  // query i stands at key position i + offset
  int64_t left_;
  int64_t right_;
  In<4> mask_;
  In<2> q_segments_;
  In<2> k_segments_;
};

}  // namespace tessera::attention
