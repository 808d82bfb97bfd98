// A decoder-only transformer: GPT-2 style or Llama style, by its options.
#pragma once

#include "modules/embedding.h"
#include "modules/transformer_block.h"

namespace tessera {

struct LanguageModel {
  enum class Position { learned, rotary, alibi };
  struct Options {
    int64_t vocab_size = 0;
    int64_t block_size = 1024;  ///< the longest sequence
    int64_t n_layer = 12;
    int64_t n_head = 12;
    int64_t n_embd = 768;
    int64_t kv_heads = 0;  ///< 0: n_head
    double dropout = 0;
    bool bias = false;  ///< in linear layers and layer norms
    Norm::Kind norm = Norm::Kind::layer;
    Position position = Position::learned;
    FeedForward::Kind activation = FeedForward::Kind::gelu;
    int64_t window = 0;
    double softcap = 0;
    bool tie_embeddings = true;     ///< the output layer is the token table
    bool recompute = false;         ///< keep only each block's input for backward
    bool parallel = false;          ///< split attention over the GPUs of this process
    std::vector<int> devices = {};  ///< which; empty: all that are visible
    int64_t q_bucket_size = 512;
    int64_t k_bucket_size = 1024;
    bool deterministic = true;
    DType dtype = DType::f32;           ///< compute dtype
    DType residual_dtype = DType::f32;  ///< of the residual stream
  };

  explicit LanguageModel(const Options& requested);

  Options options;
  Embedding wte;                 ///< [vocab_size, n_embd]
  std::optional<Embedding> wpe;  ///< [block_size, n_embd], learned positions only
  Site dropout_site;
  std::vector<TransformerBlock> blocks;
  Norm norm;
  std::optional<Linear> lm_head;  ///< [vocab_size, n_embd], unless tied

  template <class Each>
  void visit(Each&& each) {
    each("wte", wte);
    each("wpe", wpe);
    each("dropout", dropout_site);
    each("blocks", blocks);
    each("norm", norm);
    each("lm_head", lm_head);
  }

  /// ids i32 [B, N], N ≤ block_size → logits [B, N, vocab_size] in the compute dtype. In a pass with a KV cache the ids
  /// continue the cached sequence. `segments` i32 [B, N] keeps packed documents apart.
  Variable operator()(const Variable& ids, const Tensor& segments = {}) const;

  /// The cross-entropy of predicting targets i32 [B, N] (-1: ignored), summed and divided by `denominator` (0: the
  /// number of targets that count).
  Variable loss(const Variable& ids, const Tensor& targets, double denominator = 0) const;

 private:
  Variable embed(const Variable& ids) const;
  Variable output_layer(const Variable& x) const;
};

}  // namespace tessera
