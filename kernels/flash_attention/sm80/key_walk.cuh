// How a block of queries walks over keys and values: tile by tile, of which the next arrives while one is used.
#pragma once

#include "kernels/flash_attention/sm80/softmax.cuh"

namespace tessera::sm80 {

/// How many queries and keys of the compiled tiles count, in steps of 16: the bucket sizes may ask for less.
struct TileSizes {
  int q, k;
};

template <int Keys, int Head>
struct KeyStage {
  Tile<Keys, Head> k, v;
};

/// The tiles that a block's queries see, in order; those that masks or segments hide altogether are left out.
template <int Head, bool Extras, int Threads>
struct KeyWalk {
  const AttentionRules& rules;
  const QueryBlock<int>& block;
  const TileSizes& sizes;
  HeadRows<Head> k, v;

  __device__ KeyWalk(const AttentionArguments& op, const QueryBlock<int>& queries, const TileSizes& tile_sizes)
      : rules(op.rules),
        block(queries),
        sizes(tile_sizes),
        k(op.k, block.b, block.kv_head),
        v(op.v, block.b, block.kv_head) {}

  __device__ bool has(int key) const { return key < block.end; }
  /// The first tile from `key` on that anybody sees.
  __device__ int next(int key) const {
    if constexpr (Extras)
      while (has(key) && !has_sight_by_mask(rules, {block.b, block.h, block.first, key, sizes.q, sizes.k}))
        key += sizes.k;
    return key;
  }
  __device__ int begin() const { return next(static_cast<int>(rules.first_key(block.first)) / sizes.k * sizes.k); }

  /// Asks for a tile; where there is none, for nothing, so that groups of copies can be counted.
  template <int Keys>
  __device__ void load(KeyStage<Keys, Head>& stage, int key) const {
    if (has(key)) {
      stage.k.template load<Threads>(k, key, sizes.k);
      stage.v.template load<Threads>(v, key, sizes.k);
    }
    cp_async_commit();
  }
};

}  // namespace tessera::sm80
