// A table of rows, one per token.
#pragma once

#include "modules/module.h"

namespace tessera {

struct Embedding {
  struct Options {
    int64_t count = 0;  ///< rows: the vocabulary, or the positions
    int64_t dim = 0;
    Init init = Init::normal(1);
  };

  explicit Embedding(const Options& options) : weight({options.count, options.dim}, options.init) {}

  Parameter weight;  ///< [count, dim]

  template <class Each>
  void visit(Each&& each) {
    each("weight", weight);
  }

  /// ids i32 [B, N] → [B, N, dim].
  Variable operator()(const Variable& ids, const ops::EmbeddingOptions& options = {}) const {
    return ops::embedding(weight, ids, options);
  }
};

}  // namespace tessera
