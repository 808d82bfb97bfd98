// Softcap, ALiBi and dropout on tiles.
#include "kernels/flash_attention/cpu/score_terms.h"

#include <cmath>
#include <numbers>

#include "kernels/common/simd.h"

namespace tessera::attention {

template <class A>
ScoreTerms<A>::ScoreTerms(const AttentionOptions& options, int64_t queries, int64_t keys)
    : operand_factor_(
          static_cast<A>(options.softcap == 0 ? options.scale * std::numbers::log2e : options.scale / options.softcap)),
      cap_(static_cast<A>(options.softcap * std::numbers::log2e)),
      slopes_(options.alibi_slopes),
      offset_(keys - queries),
      threshold_(dropout_threshold(options.dropout)),
      growth_(static_cast<A>(1 / (1 - static_cast<double>(options.dropout)))),
      key_(options.dropout_key),
      first_sample_(options.first_sample),
      first_head_(options.first_head) {}

template <class A>
void ScoreTerms<A>::cap(Tile<A> scores, Tile<A> derivative) const {
  for (int64_t r = 0; r < scores.rows; ++r) {
    for (int64_t c = 0; c < scores.columns; c += simd::kLanes<A>) {
      const simd::Vector<A> t = simd::tanh(simd::load(scores.row(r) + c));
      simd::store(scores.row(r) + c, t * cap_);
      if (derivative.data) simd::store(derivative.row(r) + c, A{1} - t * t);
    }
  }
}

template <class A>
template <Lanes L>
void ScoreTerms<A>::bias(const TilePlace<L>& place, Tile<A> scores) const {
  const A slope = slopes_.as<float>()[place.h * slopes_.strides[0]] * std::numbers::log2e_v<A>;
  const Range across = place.across(), along = place.along();
  for (int64_t r = 0; r < across.size(); ++r) {
    // |p − j| = |start + c| along the lanes, whichever axis they are
    const int64_t at = across.begin + r;
    const int64_t start = L == Lanes::queries ? along.begin + offset_ - at : along.begin - offset_ - at;
    A* row = scores.row(r);
    for (int32_t c = 0; c < static_cast<int32_t>(along.size()); ++c) {
      row[c] -= slope * std::abs(static_cast<A>(start) + static_cast<A>(c));
    }
  }
}

template <class A>
template <Lanes L>
void ScoreTerms<A>::draw(const TilePlace<L>& place, Tile<A> kept) const {
  constexpr int64_t kLanesAtOnce = 64;
  const int64_t sample = first_sample_ + place.b, head = first_head_ + place.h;
  const Range keys = place.keys, queries = place.queries;
  const auto keep = [&](uint32_t word) { return word < threshold_ ? A{0} : growth_; };
  if constexpr (L == Lanes::queries) {
    for (int64_t quad = keys.begin / 4; quad * 4 < keys.end; ++quad) {
      for (int64_t c = 0; c < queries.size(); c += kLanesAtOnce) {
        uint32_t words[4][kLanesAtOnce];
        for (int64_t i = 0; i < kLanesAtOnce; ++i) {
          const Words drawn = attention_dropout_words(key_, sample, head, queries.begin + c + i, quad);
          words[0][i] = drawn.x, words[1][i] = drawn.y, words[2][i] = drawn.z, words[3][i] = drawn.w;
        }
        const int64_t n = std::min(kLanesAtOnce, queries.size() - c);
        for (int64_t j = std::max(keys.begin, quad * 4); j < std::min(keys.end, quad * 4 + 4); ++j) {
          A* row = kept.row(j - keys.begin) + c;
          for (int64_t i = 0; i < n; ++i) row[i] = keep(words[j % 4][i]);
        }
      }
    }
  } else {
    for (int64_t r = 0; r < queries.size(); ++r) {
      A* row = kept.row(r);
      for (int64_t quad = keys.begin / 4; quad * 4 < keys.end; quad += kLanesAtOnce / 4) {
        uint32_t words[kLanesAtOnce];
        for (int64_t i = 0; i < kLanesAtOnce / 4; ++i) {
          const Words drawn = attention_dropout_words(key_, sample, head, queries.begin + r, quad + i);
          words[4 * i] = drawn.x, words[4 * i + 1] = drawn.y, words[4 * i + 2] = drawn.z, words[4 * i + 3] = drawn.w;
        }
        const int64_t first = std::max(keys.begin, quad * 4), last = std::min(keys.end, quad * 4 + kLanesAtOnce);
        for (int64_t j = first; j < last; ++j) row[j - keys.begin] = keep(words[j - quad * 4]);
      }
    }
  }
}

template class ScoreTerms<float>;
template class ScoreTerms<double>;
template void ScoreTerms<float>::bias(const TilePlace<Lanes::queries>&, Tile<float>) const;
template void ScoreTerms<float>::bias(const TilePlace<Lanes::keys>&, Tile<float>) const;
template void ScoreTerms<double>::bias(const TilePlace<Lanes::queries>&, Tile<double>) const;
template void ScoreTerms<double>::bias(const TilePlace<Lanes::keys>&, Tile<double>) const;
template void ScoreTerms<float>::draw(const TilePlace<Lanes::queries>&, Tile<float>) const;
template void ScoreTerms<float>::draw(const TilePlace<Lanes::keys>&, Tile<float>) const;
template void ScoreTerms<double>::draw(const TilePlace<Lanes::queries>&, Tile<double>) const;
template void ScoreTerms<double>::draw(const TilePlace<Lanes::keys>&, Tile<double>) const;

}  // namespace tessera::attention
