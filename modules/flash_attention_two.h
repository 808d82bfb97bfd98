// Multi-head attention computed tile by tile: never a matrix of N × M scores, forward or backward (Dao,
// "FlashAttention-2", 2023). State-dict keys: to_q.weight, to_kv.weight, to_out.weight.
//
// Causal attention is aligned bottom-right: the last query stands at the last key. Two queries, five keys; five
// queries, two keys (rows that see nothing give 0):
//
//     ■ ■ ■ ■ ·        · ·
//     ■ ■ ■ ■ ■        · ·
//                      · ·
//                      ■ ·
//                      ■ ■
//
// Rotary positions are for self-attention: they make scores a function of how far apart two places of one sequence are.
// A context is another sequence, of which no place is near or far from x's, so then nothing is rotated; hence with
// rotary a context that equals x does not give what x alone gives.
//
// With mixed_precision the projections stay in x's dtype; q, k and v are rounded to 16 bit for the core, which sums in
// f32, and its result is widened again. A float16 core would lose gradients below 2⁻²⁴, so dO is multiplied by a power
// of two on its way in (its root mean square becomes about 1/16) and dq, dk and dv are divided by it on their way out.
#pragma once

#include "kernels/flash_attention/attention_options.h"
#include "modules/linear.h"

namespace tessera {

struct FlashAttentionTwo {
  struct Options {
    int64_t dim = 0;                ///< width C of x
    int64_t heads = 8;              ///< H query heads
    int64_t dim_head = 64;          ///< D, at most 256
    bool causal = false;            ///< a token sees itself and what stands before it
    int64_t q_bucket_size = 512;    ///< upper bound of the query tile: less memory, same result to rounding
    int64_t k_bucket_size = 1024;   ///< upper bound of the key tile
    bool deterministic = true;      ///< false: on a GPU a 16-bit backward may sum in any order, which is faster
    bool parallel = false;          ///< split batch × heads over the GPUs of this process; with one it changes nothing
    std::vector<int> devices = {};  ///< which GPUs `parallel` uses; empty: all that are visible
    bool mixed_precision = false;   ///< compute the attention core in 16 bit when x is not; the result has x's dtype
    DType mixed_precision_dtype = DType::bf16;  ///< bf16 or f16
    bool bias = false;                          ///< on all three projections
    int64_t kv_heads = 0;                       ///< key/value heads shared by groups of query heads; 0: heads
    int64_t window = 0;                         ///< a token sees fewer than this many positions away; 0: all
    double softcap = 0;                         ///< bounds the scores by tanh; 0: off
    bool alibi = false;                         ///< scores fall linearly with distance (Press et al., 2022)
    bool rotary = false;                        ///< rotate queries and keys by position (Su et al., 2021)
    double dropout = 0;                         ///< of the softmax weights
    double output_dropout = 0;                  ///< of the result, before the residual is added
    std::optional<Init> init = {};              ///< of to_q and to_kv
    std::optional<Init> output_init = {};       ///< of to_out
  };

  /// What one call may add to x.
  struct Call {
    Variable context = {};      ///< [B, M, dim]: attend to this instead of x; rotary does not apply then
    Tensor mask = {};           ///< true = attend: [B, M], or four axes that broadcast to [B, H, N, M]
    Tensor segments = {};       ///< i32 [B, N]: tokens see only their own segment (self-attention)
    int64_t q_bucket_size = 0;  ///< overrides the layer's; 0: keep
    int64_t k_bucket_size = 0;
    Variable residual = {};  ///< [B, N, dim], added to the result, which takes its dtype
  };

  explicit FlashAttentionTwo(const Options& requested);

  Options options;
  Linear to_q;    ///< [heads·dim_head, dim]
  Linear to_kv;   ///< [2·kv_heads·dim_head, dim], keys first; the neighbour of to_q in an arena
  Linear to_out;  ///< [dim, heads·dim_head]
  Site dropout_site;
  Site output_dropout_site;

  template <class Each>
  void visit(Each&& each) {
    each("to_q", to_q);
    each("to_kv", to_kv);
    each("to_out", to_out);
    each("dropout", dropout_site);
    each("output_dropout", output_dropout_site);
  }

  /// x [B, N, dim] → [B, N, dim].
  Variable operator()(const Variable& x) const { return (*this)(x, Call{}); }
  Variable operator()(const Variable& x, const Call& call) const;

  /// The tiles and the scratch memory of a call with these extents, in the dtype that x has.
  AttentionPlan plan(int64_t batch, int64_t n, int64_t m, DType dtype = DType::f32, Device device = {}) const {
    return plan(batch, n, m, dtype, device, Call{});
  }
  /// The same of a call with buckets of its own.
  AttentionPlan plan(int64_t batch, int64_t n, int64_t m, DType dtype, Device device, const Call& call) const;

 private:
  struct Heads {
    Variable q, k, v;
  };
  Heads project(const Variable& x, const Variable& context) const;
  /// What is asked of the attention core for an x of `dtype`, but for what lies on a device.
  ops::FlashAttentionOptions core(DType dtype, const Call& call) const;
  Variable attend(const Heads& heads, const Variable& x, const Call& call) const;
  Variable finish(const Variable& out, const Variable& residual) const;
};

/// The slopes of ALiBi for `heads` heads, f32 [heads] (Press et al., "Train short, test long", 2022, section 3).
Tensor alibi_slopes(int64_t heads, Device device = {});

}  // namespace tessera
