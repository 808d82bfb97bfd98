#include "framework/autograd/kv_cache.h"

#include <algorithm>

namespace tessera {

std::pair<Tensor, Tensor> KvCache::append(uint64_t site, const Tensor& k, const Tensor& v) {
  const int64_t end = length_ + k.dim(1);
  expect(end <= capacity_, "kv cache: {} tokens do not fit the {} that were reserved", end, capacity_);
  Layer& layer = layers_[site];
  expect(
      layer.tokens <= length_,
      "kv cache: two attention layers share a place, or one is called twice before advance(); name them in one model "
      "by initialize(model), or use no cache");
  expect(
      layer.tokens == length_,
      "kv cache: it holds {} tokens of an attention layer whose next is token {}; call every layer in every pass, or "
      "clear() the cache",
      layer.tokens, length_);
  const Shape shape = k.shape().with(1, capacity_);
  const bool fits = layer.keys.defined() && layer.keys.shape() == shape && layer.keys.dtype() == k.dtype() &&
                    layer.keys.device() == k.device();
  expect(fits || length_ == 0,
         "kv cache: it holds {} tokens of {} keys {}, which {} keys {} cannot follow; clear() it before another batch",
         length_, layer.keys.dtype(), layer.keys.shape(), k.dtype(), k.shape());
  if (!fits) {
    layer.keys = Tensor::empty(shape, k.dtype(), k.device());
    layer.values = empty_like(layer.keys);
  }
  layer.keys.slice(1, length_, end).copy_from(k);
  layer.values.slice(1, length_, end).copy_from(v);
  layer.tokens = end;
  return {layer.keys.slice(1, 0, end), layer.values.slice(1, 0, end)};
}

void KvCache::set_length(int64_t length) {
  length_ = length;
  for (auto& [site, layer] : layers_) layer.tokens = std::min(layer.tokens, length);
}

}  // namespace tessera
