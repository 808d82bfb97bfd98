// FlashAttention-2 backward on the CPU. A thread owns a band of key tiles, whose dk and dv stay with it, and walks over
// the query tiles that see them. Scores lie as [queries, keys]: all that is transposed is K and V, once per band. dq is
// summed in place by the bands of a head one after the other: each follows the one before it a step behind.
#include <atomic>
#include <cmath>
#include <numbers>
#include <utility>

#include <omp.h>

#include "kernels/common/host_scratch.h"
#include "kernels/common/select.h"
#include "kernels/flash_attention/cpu/band_order.h"
#include "kernels/flash_attention/cpu/delta.h"
#include "kernels/flash_attention/cpu/flash_attention_tiles.h"
#include "kernels/flash_attention/cpu/score_terms.h"
#include "kernels/flash_attention/cpu/softmax_gradient.h"
#include "kernels/flash_attention/cpu/tile_io.h"
#include "kernels/flash_attention/cpu/turns.h"
#include "kernels/flash_attention/cpu/visibility.h"

namespace tessera::attention {
namespace {

// Large enough that what is done to each score is small beside the products, small enough for the second-level cache.
constexpr TileShape kTile{.q = 128, .k = 128};
constexpr int64_t kLargestBand = 2;
constexpr int64_t kBandBytes = 512 * 1024;  // half of a common second-level cache

/// What all threads of a call share.
template <DType T>
struct BackwardCall {
  using A = AccumulateType<T>;

  const FlashAttentionBackward& arguments;
  Extents extents;
  BandOrder bands;
  Visibility visibility;
  ScoreTerms<A> terms;
  TileProducts<A> multiply;
};

/// Memory that all threads of a call share.
template <DType T>
struct BackwardSums {
  using A = AccumulateType<T>;

  Tile<A> delta;  // [B · H, N], times the scale
  Tile<A> dq;     // [slots · group · N, D]

  BackwardSums(const Extents& e, int64_t slots, Carver& carver)
      : delta(carver.tile<A>(e.batch * e.heads, e.queries)),
        dq(carver.tile<A>(slots * e.group() * e.queries, e.width)) {}
};

/// The memory and the steps of one thread.
template <DType T>
class BackwardBand {
  using A = AccumulateType<T>;
  using E = CppType<T>;
  using Place = TilePlace<Lanes::keys>;

  struct KeyTile {
    Range positions;
    Tile<A> keys;               // [keys, D]
    Tile<A> keys_transposed;    // [D, keys], times the operand factor
    Tile<A> values_transposed;  // [D, keys], times the scale
    Tile<A> dk;                 // [keys, D]
    Tile<A> dv;                 // [keys, D]
  };

 public:
  BackwardBand(const BackwardCall<T>& call, const BackwardSums<T>& sums, Carver& carver)
      : call_(call),
        sums_(sums),
        queries_(carver.tile<A>(call.extents.tile_q, call.extents.width)),
        dout_(carver.tile<A>(call.extents.tile_q, call.extents.width)),
        scores_(carver.tile<A>(call.extents.tile_q, call.extents.tile_k)),
        dscores_(carver.tile<A>(call.extents.tile_q, call.extents.tile_k)),
        kept_(carver.tile<A>(call.terms.drops() ? call.extents.tile_q : 0, call.extents.tile_k)),
        cap_slope_(carver.tile<A>(call.terms.capped() ? call.extents.tile_q : 0, call.extents.tile_k)),
        lse_(carver.take<A>(call.extents.tile_q)) {
    const int64_t tile_k = call.extents.tile_k, width = call.extents.width;
    for (int64_t i = 0; i < call.bands.band; ++i) {
      band_[i] = {{},
                  carver.tile<A>(tile_k, width),
                  carver.tile<A>(width, tile_k),
                  carver.tile<A>(width, tile_k),
                  carver.tile<A>(tile_k, width),
                  carver.tile<A>(tile_k, width)};
    }
  }

  /// The gradients of one band of keys, and its share of dq.
  void operator()(const BandOfKeys& band, Turns& turns) {
    const Extents& e = call_.extents;
    const int64_t b = band.head / e.kv_heads, kv_head = band.head % e.kv_heads;
    const int64_t done = e.group() * e.q_tiles() + 1;  // a step more than there are, for what comes after the last
    for (int64_t i = 0; i < band.count; ++i) load_keys(band_[i], b, kv_head, e.k_tile(band.first + i));
    if (band.opens) {
      turns.wait(band.before, done);
      dq_rows(band.slot, 0, {0, e.group() * e.queries}).fill(0);
    }
    for (int64_t member = 0; band.count > 0 && member < e.group(); ++member) {
      walk(band, {b, kv_head * e.group() + member}, member, turns);
    }
    for (int64_t i = 0; i < band.count; ++i) store_keys(band_[i], b, kv_head);

    turns.wait(band.before, done);
    if (band.closes) store_queries(band.slot, b, kv_head);
    turns.pass(band.number, done);
  }

 private:
  struct Head {
    int64_t b;
    int64_t h;
  };

  /// All query tiles of one head that see a key of the band.
  void walk(const BandOfKeys& band, Head head, int64_t member, Turns& turns) {
    const Extents& e = call_.extents;
    const Range seen = call_.visibility.queries_of({band_[0].positions.begin, band_[band.count - 1].positions.end});
    for (int64_t q = seen.begin / e.tile_q; q * e.tile_q < seen.end; ++q) {
      const Range queries = e.q_tile(q);
      const int64_t step = member * e.q_tiles() + q + 1;
      bool loaded = false;
      for (int64_t i = 0; i < band.count; ++i) {
        const Place place{head.b, head.h, queries, band_[i].positions};
        const Sight sight = call_.visibility.sight(place);
        if (sight == Sight::none) continue;
        if (!std::exchange(loaded, true)) load_queries(place);
        const Zero zero = differentiate(band_[i], place, sight);
        if (!band.opens) turns.wait(band.before, step);
        add_to_queries(band_[i], place, dq_rows(band.slot, member, queries), zero);
      }
      if (loaded) turns.pass(band.number, step);
    }
  }

  void load_keys(KeyTile& tile, int64_t b, int64_t kv_head, Range positions) {
    const int64_t count = positions.size();
    const auto keys = head_rows<E>(call_.arguments.k, b, kv_head, positions.begin);
    const auto values = head_rows<E>(call_.arguments.v, b, kv_head, positions.begin);
    tile.positions = positions;
    tile.keys.rows = tile.dk.rows = tile.dv.rows = count;
    tile.keys_transposed.columns = tile.values_transposed.columns = round_up(count, kTileLanes);
    load_rows(keys, tile.keys);
    load_transposed(keys, count, call_.terms.operand_factor(), tile.keys_transposed);
    load_transposed(values, count, static_cast<A>(call_.arguments.options.scale), tile.values_transposed);
    tile.dk.fill(0);
    tile.dv.fill(0);
  }

  void load_queries(const Place& place) {
    const int64_t count = place.queries.size(), first = place.queries.begin;
    load_rows(head_rows<E>(call_.arguments.q, place.b, place.h, first), queries_.first_rows(count));
    load_rows(head_rows<E>(call_.arguments.dout, place.b, place.h, first), dout_.first_rows(count));
    const In<3>& lse = call_.arguments.lse;
    const A* from = lse.as<A>() + place.b * lse.strides[0] + place.h * lse.strides[1] + first * lse.strides[2];
    for (int64_t i = 0; i < count; ++i) lse_[i] = from[i * lse.strides[2]] * std::numbers::log2e_v<A>;
  }

  /// One tile of scores: recompute the weights, differentiate the softmax, add to dk and dv. Leaves the gradient of the
  /// scores in `dscores_`; says how zeros must be multiplied.
  Zero differentiate(const KeyTile& tile, const Place& place, Sight sight) {
    const Range rows{0, place.queries.size()}, lanes{0, tile.keys_transposed.columns};
    const Tile<A> scores = scores_.part(rows, lanes), dscores = dscores_.part(rows, lanes);
    call_.visibility.each_strip(place, [&](Range q, Range k) {
      call_.multiply.assign(scores.part(q, k), queries_.row_range(q), tile.keys_transposed.column_range(k));
      call_.multiply.assign(dscores.part(q, k), dout_.row_range(q), tile.values_transposed.column_range(k));
    });
    const Tile<A> cap_slope = call_.terms.capped() ? cap_slope_.part(rows, lanes) : Tile<A>{};
    if (call_.terms.capped()) call_.terms.cap(scores, cap_slope);
    if (call_.terms.biased()) call_.terms.bias(place, scores);
    if (sight == Sight::some) call_.visibility.hide(place, scores);

    const Tile<A> kept = kept_.part(rows, lanes);
    if (call_.terms.drops()) {
      call_.terms.draw(place, kept);
      multiply_rows<A>(dscores, kept, kept.stride);
    }
    const A* delta = sums_.delta.row(place.b * call_.extents.heads + place.h) + place.queries.begin;
    softmax_gradient<A>(scores, dscores, cap_slope, lse_, delta);
    if (call_.terms.drops()) multiply_rows<A>(scores, kept, kept.stride);

    const bool garbage = sight == Sight::some && !(all_finite<A>(queries_.row_range(rows)) &&
                                                   all_finite<A>(dout_.row_range(rows)) && all_finite<A>(tile.keys));
    const Zero zero = garbage ? Zero::absorbing : Zero::ieee;
    call_.visibility.each_strip(place, [&](Range q, Range k) {
      k.end = std::min(k.end, tile.keys.rows);
      call_.multiply.add_transposed(tile.dv.row_range(k), scores.part(q, k), dout_.row_range(q), zero);
      call_.multiply.add_transposed(tile.dk.row_range(k), dscores.part(q, k), queries_.row_range(q), zero);
    });
    return zero;
  }

  void add_to_queries(const KeyTile& tile, const Place& place, Tile<A> dq, Zero zero) {
    call_.visibility.each_strip(place, [&](Range q, Range k) {
      k.end = std::min(k.end, tile.keys.rows);
      call_.multiply.add(dq.row_range(q), dscores_.part(q, k), tile.keys.row_range(k), zero);
    });
  }

  void store_keys(const KeyTile& tile, int64_t b, int64_t kv_head) {
    store_rows<A>(tile.dk, head_rows<E>(call_.arguments.dk, b, kv_head, tile.positions.begin));
    store_rows<A>(tile.dv, head_rows<E>(call_.arguments.dv, b, kv_head, tile.positions.begin));
  }

  void store_queries(int64_t slot, int64_t b, int64_t kv_head) {
    const Extents& e = call_.extents;
    for (int64_t member = 0; member < e.group(); ++member) {
      store_rows<A>(dq_rows(slot, member, {0, e.queries}),
                    head_rows<E>(call_.arguments.dq, b, kv_head * e.group() + member, 0));
    }
  }

  Tile<A> dq_rows(int64_t slot, int64_t member, Range queries) const {
    const int64_t first = (slot * call_.extents.group() + member) * call_.extents.queries;
    return sums_.dq.row_range({first + queries.begin, first + queries.end});
  }

  const BackwardCall<T>& call_;
  const BackwardSums<T>& sums_;
  Tile<A> queries_;    // [queries, D]
  Tile<A> dout_;       // [queries, D]
  Tile<A> scores_;     // [queries, keys], then the weights
  Tile<A> dscores_;    // [queries, keys]: gradient of the weights, then of the scores
  Tile<A> kept_;       // [queries, keys]: dropout
  Tile<A> cap_slope_;  // [queries, keys]
  A* lse_;             // [queries], in units of log 2
  KeyTile band_[kLargestBand];
};

template <DType T>
BackwardCall<T> prepare(const FlashAttentionBackward& arguments, TileBackend backend) {
  const Extents e = extents_of(arguments.q, arguments.k, arguments.options, kTile);
  const int64_t threads = omp_get_max_threads(), heads = e.batch * e.kv_heads;
  const int64_t bytes = 5 * e.tile_k * e.width * size_of(accumulate_dtype(T));
  const int64_t fair = heads * e.k_tiles() / (8 * threads);  // leaves every thread some bands
  const int64_t band = std::clamp<int64_t>(std::min(fair, kBandBytes / bytes), 1, kLargestBand);
  return {.arguments = arguments,
          .extents = e,
          .bands = {.heads = heads, .k_tiles = e.k_tiles(), .band = band, .slots = std::min(threads, heads)},
          .visibility = Visibility(arguments.options, e.queries, e.keys),
          .terms = {arguments.options, e.queries, e.keys},
          .multiply = TileProducts<AccumulateType<T>>(backend)};
}

/// Bytes of scratch: what the threads share, then what each needs.
template <DType T>
std::pair<int64_t, int64_t> scratch_bytes(const BackwardCall<T>& call) {
  Carver shared, own;
  const BackwardSums<T> sums(call.extents, call.bands.slots, shared);
  BackwardBand<T>(call, sums, own);
  return {shared.bytes(), own.bytes()};
}

template <DType T>
void backward(const FlashAttentionBackward& arguments, TileBackend backend) {
  const BackwardCall<T> call = prepare<T>(arguments, backend);
  const std::pair bytes = scratch_bytes(call);
  const HostScratch scratch(static_cast<size_t>(bytes.first + bytes.second * omp_get_max_threads()));
  Carver shared(scratch.data());
  const BackwardSums<T> sums(call.extents, call.bands.slots, shared);
  sum_delta<T>(arguments, sums.delta);

  Turns turns(call.bands.size());
  std::atomic<int64_t> next = 0;
#pragma omp parallel if (call.bands.size() > 1)
  {
    Carver own(scratch.data() + bytes.first + bytes.second * omp_get_thread_num());
    BackwardBand<T> band(call, sums, own);
    for (int64_t order = next++; order < call.bands.size(); order = next++) band(call.bands.at(order), turns);
  }
}

}  // namespace

void run_backward(const FlashAttentionBackward& call, TileBackend backend) {
  select_float("flash_attention", call.q.dtype, [&]<DType T>() { backward<T>(call, backend); });
}

}  // namespace tessera::attention

namespace tessera {

void FlashAttentionBackward::operator()(Cpu) const { attention::run_backward(*this, attention::TileBackend::best); }

AttentionPlan FlashAttentionBackward::plan(Cpu) const {
  AttentionPlan plan{};
  select_float("flash_attention", q.dtype, [&]<DType T>() {
    const auto call = attention::prepare<T>(*this, attention::TileBackend::best);
    const auto [shared, own] = attention::scratch_bytes(call);
    plan = {call.extents.tile_q, call.extents.tile_k, shared + own * omp_get_max_threads()};
  });
  return plan;
}

}  // namespace tessera
