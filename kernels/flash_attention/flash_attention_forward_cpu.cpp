// FlashAttention-2 forward on the CPU. A thread owns a tile of queries and walks over the key tiles it sees. Scores lie
// as [keys, queries]: the softmax runs down the rows of the tile with a query in each lane, so nothing is ever summed
// across lanes, and K and V are used as they lie in memory.
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include <omp.h>

#include "kernels/common/host_scratch.h"
#include "kernels/common/select.h"
#include "kernels/flash_attention/cpu/flash_attention_tiles.h"
#include "kernels/flash_attention/cpu/online_softmax.h"
#include "kernels/flash_attention/cpu/score_terms.h"
#include "kernels/flash_attention/cpu/tile_io.h"
#include "kernels/flash_attention/cpu/visibility.h"

namespace tessera::attention {
namespace {

// The scores lie in the first-level cache while the softmax passes over them.
constexpr TileShape kTile{.q = 64, .k = 128};
constexpr int64_t kLargestBand = 16;
constexpr int64_t kBandBytes = 512 * 1024;  // half of a common second-level cache

/// What all threads of a call share.
template <DType T>
struct ForwardCall {
  using A = AccumulateType<T>;

  const FlashAttentionForward& arguments;
  Extents extents;
  int64_t band;  // query tiles that share the key tiles they load; changes no result
  Visibility visibility;
  ScoreTerms<A> terms;
  TileProducts<A> multiply;
};

/// The memory and the steps of one thread. It holds a band of query tiles at once, which share every key tile it loads.
template <DType T>
class ForwardBand {
  using A = AccumulateType<T>;
  using Place = TilePlace<Lanes::queries>;

  struct QueryTile {
    Range positions;
    Tile<A> queries;  // [D, queries], times the operand factor
    Tile<A> out;      // [D, queries]
    SoftmaxState<A> state;
  };

 public:
  ForwardBand(const ForwardCall<T>& call, Carver& carver)
      : call_(call),
        keys_(carver.tile<A>(call.extents.tile_k, call.extents.width)),
        values_(carver.tile<A>(call.extents.tile_k, call.extents.width)),
        scores_(carver.tile<A>(call.extents.tile_k, call.extents.tile_q)),
        kept_(carver.tile<A>(call.terms.drops() ? call.extents.tile_k : 0, call.extents.tile_q)) {
    const int64_t width = call.extents.width, tile_q = call.extents.tile_q;
    for (int64_t i = 0; i < call.band; ++i) {
      band_[i] = {{}, carver.tile<A>(width, tile_q), carver.tile<A>(width, tile_q), {carver.tile<A>(3, tile_q)}};
    }
  }

  /// Attends from `count` query tiles of one head, from tile `first` on, to everything they see.
  void operator()(int64_t b, int64_t h, int64_t first, int64_t count) {
    const Extents& e = call_.extents;
    for (int64_t i = 0; i < count; ++i) load_queries(band_[i], b, h, e.q_tile(first + i));
    const Range seen = call_.visibility.keys_of({band_[0].positions.begin, band_[count - 1].positions.end});
    for (int64_t k = seen.begin / e.tile_k; k * e.tile_k < seen.end; ++k) {
      bool loaded = false;
      for (int64_t i = 0; i < count; ++i) {
        Place place{b, h, band_[i].positions, e.k_tile(k)};
        place.keys.end = std::min(place.keys.end, call_.visibility.keys_of(place.queries).end);
        const Sight sight = call_.visibility.sight(place);
        if (sight == Sight::none) continue;
        if (!std::exchange(loaded, true)) load_keys(b, h, e.k_tile(k), seen);
        attend(band_[i], place, sight);
      }
    }
    for (int64_t i = 0; i < count; ++i) store(band_[i], b, h);
  }

 private:
  void load_queries(QueryTile& tile, int64_t b, int64_t h, Range positions) {
    tile.positions = positions;
    for (Tile<A>* narrowed : {&tile.queries, &tile.out, &tile.state.values}) {
      narrowed->columns = round_up(positions.size(), kTileLanes);
    }
    load_transposed(head_rows<CppType<T>>(call_.arguments.q, b, h, positions.begin), positions.size(),
                    call_.terms.operand_factor(), tile.queries);
    tile.out.fill(0);
    tile.state.reset();
  }

  void load_keys(int64_t b, int64_t h, Range tile, Range seen) {
    const int64_t head = h / call_.extents.group(), count = tile.size();
    const auto keys = head_rows<CppType<T>>(call_.arguments.k, b, head, tile.begin);
    const auto values = head_rows<CppType<T>>(call_.arguments.v, b, head, tile.begin);
    load_rows(keys, keys_.first_rows(count));
    load_rows(values, values_.first_rows(count));
    const int64_t next = std::max<int64_t>(0, std::min(seen.end - tile.end, call_.extents.tile_k));
    keys_ahead_ = {keys.from(count), next};
    values_ahead_ = {values.from(count), next};
  }

  /// Has a few more rows of the key tile that comes next brought near.
  void prefetch_keys() {
    keys_ahead_.prefetch();
    values_ahead_.prefetch();
  }

  /// One tile of scores: product, terms, mask, softmax, rescale, accumulate.
  void attend(const QueryTile& tile, const Place& place, Sight sight) {
    const Range lanes{0, tile.queries.columns};
    const Tile<A> scores = scores_.part({0, place.keys.size()}, lanes);
    prefetch_keys();
    call_.visibility.each_strip(place, [&](Range k, Range q) {
      call_.multiply.assign(scores.part(k, q), keys_.row_range(k), tile.queries.column_range(q));
    });
    if (call_.terms.capped()) call_.terms.cap(scores, {});
    if (call_.terms.biased()) call_.terms.bias(place, scores);
    if (sight == Sight::some) call_.visibility.hide(place, scores);

    prefetch_keys();
    if (soften(scores, tile.state)) multiply_rows<A>(tile.out, tile.state.values.row_range({2, 3}), 0);
    if (call_.terms.drops()) {
      call_.terms.draw(place, kept_);
      multiply_rows<A>(scores, kept_, kept_.stride);
    }

    prefetch_keys();
    const bool garbage = sight == Sight::some && !all_finite<A>(values_.first_rows(scores.rows));
    call_.visibility.each_strip(place, [&](Range k, Range q) {
      call_.multiply.add_transposed(tile.out.column_range(q), values_.row_range(k), scores.part(k, q),
                                    garbage ? Zero::absorbing : Zero::ieee);
    });
  }

  /// out = accumulated / sum, lse = base + log(sum); 0 and −∞ for a query that saw nothing.
  void store(const QueryTile& tile, int64_t b, int64_t h) {
    const A *base = tile.state.base(), *sum = tile.state.sum();
    A* inverse = tile.state.correction();
    const Out<3>& lse = call_.arguments.lse;
    for (int64_t i = 0; i < tile.positions.size(); ++i) {
      inverse[i] = sum[i] == 0 ? A{0} : 1 / sum[i];
      if (!lse) continue;
      A* to = lse.as<A>() + b * lse.strides[0] + h * lse.strides[1] + (tile.positions.begin + i) * lse.strides[2];
      *to = (base[i] + std::log2(sum[i])) * std::numbers::ln2_v<A>;
    }
    store_transposed<A>(tile.out, inverse, tile.positions.size(),
                        head_rows<CppType<T>>(call_.arguments.out, b, h, tile.positions.begin));
  }

  const ForwardCall<T>& call_;
  Tile<A> keys_;    // [keys, D]
  Tile<A> values_;  // [keys, D]
  Tile<A> scores_;  // [keys, queries], then the weights
  Tile<A> kept_;    // [keys, queries]: dropout
  RowsAhead<const CppType<T>> keys_ahead_{}, values_ahead_{};
  QueryTile band_[kLargestBand];
};

template <DType T>
ForwardCall<T> prepare(const FlashAttentionForward& arguments, TileBackend backend) {
  const Extents e = extents_of(arguments.q, arguments.k, arguments.options, kTile);
  const int64_t tiles = e.batch * e.heads * e.q_tiles(), threads = omp_get_max_threads();
  const int64_t bytes = 2 * e.width * e.tile_q * size_of(accumulate_dtype(T));
  return {.arguments = arguments,
          .extents = e,
          .band = std::clamp<int64_t>(std::min(tiles / (8 * threads), kBandBytes / bytes), 1, kLargestBand),
          .visibility = Visibility(arguments.options, e.queries, e.keys),
          .terms = {arguments.options, e.queries, e.keys},
          .multiply = TileProducts<AccumulateType<T>>(backend)};
}

/// Bytes of scratch that one thread needs.
template <DType T>
int64_t scratch_bytes(const ForwardCall<T>& call) {
  Carver count;
  ForwardBand<T>(call, count);
  return count.bytes();
}

/// Some neighbouring query tiles of one head.
struct BandOfQueries {
  int64_t head;  // b · H + h
  int64_t first;
  int64_t count;
};

/// All query tiles in the order in which threads take them: whole bands, and smaller ones towards the end, so that no
/// thread waits long for the last of another.
std::vector<BandOfQueries> bands_of(const Extents& e, int64_t band, int64_t threads) {
  const int64_t smallest = std::max<int64_t>(1, band / 8);
  int64_t left = e.batch * e.heads * e.q_tiles();
  std::vector<BandOfQueries> bands;
  for (int64_t head = 0; head < e.batch * e.heads; ++head) {
    for (int64_t end = e.q_tiles(), count = 0; end > 0; end -= count, left -= count) {  // the longest causal rows first
      count = std::min(end, std::clamp(left / (2 * threads), smallest, band));
      bands.push_back({head, end - count, count});
    }
  }
  return bands;
}

template <DType T>
void forward(const FlashAttentionForward& arguments, TileBackend backend) {
  const ForwardCall<T> call = prepare<T>(arguments, backend);
  const Extents& e = call.extents;
  const std::vector<BandOfQueries> bands = bands_of(e, call.band, omp_get_max_threads());
  const int64_t bytes = scratch_bytes(call);
  const HostScratch scratch(static_cast<size_t>(bytes * omp_get_max_threads()));
#pragma omp parallel if (bands.size() > 1)
  {
    Carver carver(scratch.data() + bytes * omp_get_thread_num());
    ForwardBand<T> attend(call, carver);
#pragma omp for schedule(dynamic)
    for (const BandOfQueries& band : bands) attend(band.head / e.heads, band.head % e.heads, band.first, band.count);
  }
}

}  // namespace

void run_forward(const FlashAttentionForward& call, TileBackend backend) {
  select_float("flash_attention", call.q.dtype, [&]<DType T>() { forward<T>(call, backend); });
}

}  // namespace tessera::attention

namespace tessera {

void FlashAttentionForward::operator()(Cpu) const { attention::run_forward(*this, attention::TileBackend::best); }

AttentionPlan FlashAttentionForward::plan(Cpu) const {
  AttentionPlan plan{};
  select_float("flash_attention", q.dtype, [&]<DType T>() {
    const auto call = attention::prepare<T>(*this, attention::TileBackend::best);
    plan = {call.extents.tile_q, call.extents.tile_k, attention::scratch_bytes(call) * omp_get_max_threads()};
  });
  return plan;
}

}  // namespace tessera
