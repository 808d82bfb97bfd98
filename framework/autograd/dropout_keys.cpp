#include "framework/autograd/dropout_keys.h"

#include <algorithm>

namespace tessera {

void DropoutKeys::write(int64_t iteration) {
  if (written_ == 0 && !sites_.empty()) {
    written_ = sites_.size();
    keys_ = Tensor::empty({std::ssize(sites_)}, DType::i64, device_);
  }
  if (written_ == 0) return;
  std::vector<int64_t> keys;
  for (size_t i = 0; i < written_; ++i) keys.push_back(static_cast<int64_t>(dropout_key(seed_, iteration, sites_[i])));
  uploader_.send(keys, keys_);
}

const uint64_t* DropoutKeys::place_of(uint64_t site) {
  const auto at = static_cast<size_t>(std::find(sites_.begin(), sites_.end(), site) - sites_.begin());
  if (at == sites_.size()) sites_.push_back(site);
  return at < written_ ? static_cast<const uint64_t*>(keys_.address()) + at : nullptr;
}

}  // namespace tessera
