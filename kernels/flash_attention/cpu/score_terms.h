// What changes scores and weights without hiding any: scale, softcap, ALiBi, dropout. Scores are kept in units of log
// 2, so that the softmax needs 2^x only; the factor goes into the one operand that is copied anyway.
#pragma once

#include "kernels/flash_attention/attention_options.h"
#include "kernels/flash_attention/cpu/tile.h"
#include "kernels/flash_attention/cpu/visibility.h"

namespace tessera::attention {

template <class A>
class ScoreTerms {
 public:
  ScoreTerms(const AttentionOptions& options, int64_t queries, int64_t keys);

  /// The factor of q or k: makes their product a score in units of log 2, or what `cap` expects.
  A operand_factor() const { return operand_factor_; }

  bool capped() const { return cap_ != 0; }
  bool biased() const { return slopes_.data != nullptr; }
  bool drops() const { return threshold_ != 0; }

  /// The softcap. Where `derivative` has an address it receives 1 − tanh².
  void cap(Tile<A> scores, Tile<A> derivative) const;

  /// ALiBi.
  template <Lanes L>
  void bias(const TilePlace<L>& place, Tile<A> scores) const;

  /// Dropout: `kept` receives 0 or 1 / (1 − p) for each weight of the tile.
  template <Lanes L>
  void draw(const TilePlace<L>& place, Tile<A> kept) const;

 private:
  A operand_factor_;
  A cap_;  // in units of log 2; 0: off
  In<1> slopes_;
  int64_t offset_;  // query i stands at key position i + offset
  uint32_t threshold_;
  A growth_;  // 1 / (1 − p)
  uint64_t key_;
  int64_t first_sample_;
  int64_t first_head_;
};

}  // namespace tessera::attention
