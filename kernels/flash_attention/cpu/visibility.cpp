// Sight of tiles and of single scores.
#include "kernels/flash_attention/cpu/visibility.h"

#include <limits>

namespace tessera::attention {
namespace {

constexpr int64_t kUnlimited = int64_t{1} << 60;

/// What holds for a tile that two rules look at.
Sight both(Sight a, Sight b) { return std::min(a, b); }

struct Extremes {
  int32_t least;
  int32_t most;
};

Extremes extremes(const In<2>& segments, int64_t b, Range range) {
  const int32_t* of = segments.as<int32_t>() + b * segments.strides[0];
  Extremes found{of[range.begin * segments.strides[1]], of[range.begin * segments.strides[1]]};
  for (int64_t i = range.begin; i < range.end; ++i) {
    const int32_t id = of[i * segments.strides[1]];
    found = {std::min(found.least, id), std::max(found.most, id)};
  }
  return found;
}

}  // namespace

Visibility::Visibility(const AttentionOptions& options, int64_t queries, int64_t keys)
    : queries_(queries),
      keys_(keys),
      offset_(keys - queries),
      left_(options.window_left < 0 ? kUnlimited : options.window_left),
      right_(options.window_right < 0 ? kUnlimited : options.window_right),
      mask_(options.mask),
      q_segments_(options.q_segments),
      k_segments_(options.k_segments) {
  if (options.causal) right_ = 0;
}

Range Visibility::keys_of(Range queries) const {
  const int64_t begin = std::max(int64_t{0}, seen<Lanes::keys>(queries.begin).begin);
  return {begin, std::max(begin, std::min(keys_, seen<Lanes::keys>(queries.end - 1).end))};
}

Range Visibility::queries_of(Range keys) const {
  const int64_t begin = std::max(int64_t{0}, seen<Lanes::queries>(keys.begin).begin);
  return {begin, std::max(begin, std::min(queries_, seen<Lanes::queries>(keys.end - 1).end))};
}

template <Lanes L>
Sight Visibility::sight(const TilePlace<L>& place) const {
  Sight sight = position(place);
  if (sight != Sight::none && q_segments_) sight = both(sight, segment(place));
  if (sight != Sight::none && mask_) sight = both(sight, mask(place));
  return sight;
}

template <Lanes L>
Sight Visibility::segment(const TilePlace<L>& place) const {
  const Extremes q = extremes(q_segments_, place.b, place.queries);
  const Extremes k = extremes(k_segments_, place.b, place.keys);
  if (q.least > k.most || k.least > q.most) return Sight::none;
  const bool one = q.least == q.most && k.least == k.most;
  return one ? Sight::all : Sight::some;
}

template <Lanes L>
Sight Visibility::mask(const TilePlace<L>& place) const {
  const auto* corner = mask_.as<uint8_t>() + place.b * mask_.strides[0] + place.h * mask_.strides[1];
  const int64_t rows = mask_.strides[2] == 0 ? 1 : place.queries.size();
  const int64_t columns = mask_.strides[3] == 0 ? 1 : place.keys.size();
  const int64_t step = mask_.strides[3];
  int64_t seen = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const uint8_t* row = corner + (place.queries.begin + r) * mask_.strides[2] + place.keys.begin * step;
    int32_t count = 0;
    if (step == 1) {
      for (int64_t c = 0; c < columns; ++c) count += row[c];
    } else {
      for (int64_t c = 0; c < columns; ++c) count += row[c * step];
    }
    seen += count;
    if (seen != 0 && seen != (r + 1) * columns) return Sight::some;
  }
  return seen == 0 ? Sight::none : Sight::all;
}

template <Lanes L, class A>
void Visibility::hide(const TilePlace<L>& place, Tile<A> scores) const {
  if (position(place) == Sight::some) hide_by_position(place, scores);
  if (q_segments_) hide_by_segment(place, scores);
  if (mask_) hide_by_mask(place, scores);
}

template <Lanes L, class A>
void Visibility::hide_by_position(const TilePlace<L>& place, Tile<A> scores) const {
  constexpr A hidden = -std::numeric_limits<A>::infinity();
  const Range across = place.across(), along = place.along();
  for (int64_t at = across.begin; at < across.end; ++at) {
    const Range lanes = seen<L>(at);
    const int64_t begin = std::clamp<int64_t>(lanes.begin - along.begin, 0, along.size());
    const int64_t end = std::clamp<int64_t>(lanes.end - along.begin, begin, along.size());
    A* row = scores.row(at - across.begin);
    std::fill(row, row + begin, hidden);
    std::fill(row + end, row + along.size(), hidden);
  }
}

template <Lanes L, class A>
void Visibility::hide_by_segment(const TilePlace<L>& place, Tile<A> scores) const {
  constexpr A hidden = -std::numeric_limits<A>::infinity();
  const Range across = place.across(), along = place.along();
  const In<2>& outer = L == Lanes::queries ? k_segments_ : q_segments_;
  const In<2>& inner = L == Lanes::queries ? q_segments_ : k_segments_;
  const int32_t* inner_ids = inner.as<int32_t>() + place.b * inner.strides[0] + along.begin * inner.strides[1];
  for (int64_t r = 0; r < across.size(); ++r) {
    const int32_t id = outer.as<int32_t>()[place.b * outer.strides[0] + (across.begin + r) * outer.strides[1]];
    A* row = scores.row(r);
    for (int64_t c = 0; c < along.size(); ++c) row[c] = inner_ids[c * inner.strides[1]] == id ? row[c] : hidden;
  }
}

template <Lanes L, class A>
void Visibility::hide_by_mask(const TilePlace<L>& place, Tile<A> scores) const {
  constexpr A hidden = -std::numeric_limits<A>::infinity();
  constexpr int inner = L == Lanes::queries ? 2 : 3;
  constexpr int outer = L == Lanes::queries ? 3 : 2;
  const Range across = place.across(), along = place.along();
  const auto* corner = mask_.as<uint8_t>() + place.b * mask_.strides[0] + place.h * mask_.strides[1];
  const int64_t step = mask_.strides[inner];
  for (int64_t r = 0; r < across.size(); ++r) {
    const uint8_t* visible = corner + (across.begin + r) * mask_.strides[outer] + along.begin * step;
    A* row = scores.row(r);
    if (step == 0) {
      if (!*visible) std::fill_n(row, along.size(), hidden);
    } else if (step == 1) {
      for (int64_t c = 0; c < along.size(); ++c) row[c] = visible[c] ? row[c] : hidden;
    } else {
      for (int64_t c = 0; c < along.size(); ++c) row[c] = visible[c * step] ? row[c] : hidden;
    }
  }
}

template Sight Visibility::sight(const TilePlace<Lanes::queries>&) const;
template Sight Visibility::sight(const TilePlace<Lanes::keys>&) const;
template void Visibility::hide(const TilePlace<Lanes::queries>&, Tile<float>) const;
template void Visibility::hide(const TilePlace<Lanes::queries>&, Tile<double>) const;
template void Visibility::hide(const TilePlace<Lanes::keys>&, Tile<float>) const;
template void Visibility::hide(const TilePlace<Lanes::keys>&, Tile<double>) const;

}  // namespace tessera::attention
