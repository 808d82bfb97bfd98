#include "framework/autograd/kv_cache.h"

namespace tessera {

std::pair<Tensor, Tensor> KvCache::append(uint64_t site, const Tensor& k, const Tensor& v) {
  const int64_t end = length_ + k.dim(1);
  expect(end <= capacity_, "kv cache: {} tokens do not fit the {} that were reserved", end, capacity_);
  auto& [keys, values] = layers_[site];
  if (!keys.defined() || keys.dim(0) != k.dim(0)) {
    keys = Tensor::empty(k.shape().with(1, capacity_), k.dtype(), k.device());
    values = empty_like(keys);
  }
  keys.slice(1, length_, end).copy_from(k);
  values.slice(1, length_, end).copy_from(v);
  return {keys.slice(1, 0, end), values.slice(1, 0, end)};
}

}  // namespace tessera
