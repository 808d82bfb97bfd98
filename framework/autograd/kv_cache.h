// Keys and values of the tokens already seen, one pair of buffers per attention layer, so that generating a token costs
// one token's work.
#pragma once

#include <unordered_map>
#include <utility>

#include "framework/tensor/tensor.h"

namespace tessera {

class KvCache {
 public:
  /// Room for `capacity` tokens per sequence.
  explicit KvCache(int64_t capacity) : capacity_(capacity) {}

  /// Tokens per sequence that a whole forward pass has seen: the position of the next token.
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }

  /// Appends k and v [B, N, KvH, D] of the layer `site`; returns views of all its keys and values [B, length + N, …].
  /// Errors: there is no room; the site was appended to in this pass already, or missed an earlier one; B, KvH, D, the
  /// dtype or the device are not those of the tokens before.
  std::pair<Tensor, Tensor> append(uint64_t site, const Tensor& k, const Tensor& v);
  /// Ends a forward pass over `tokens` tokens: every layer has appended them.
  void advance(int64_t tokens) { set_length(length_ + tokens); }
  /// Forgets everything; the memory is kept.
  void clear() { set_length(0); }

 private:
  struct Layer {
    Tensor keys, values;
    int64_t tokens = 0;  // that it holds: length_, and within a pass those of the pass after its append
  };

  void set_length(int64_t length);

  int64_t capacity_;
  int64_t length_ = 0;
  std::unordered_map<uint64_t, Layer> layers_;
};

}  // namespace tessera
