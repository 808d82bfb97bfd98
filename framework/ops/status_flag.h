// A flag that a kernel raises when it meets bad data (a token outside the vocabulary): 0, or 1 + the row.
#pragma once

#include "framework/tensor/tensor.h"

namespace tessera {

class StatusFlag {
 public:
  explicit StatusFlag(Device device) : flag_(Tensor::zeros({1}, DType::i32, device)) {}

  int32_t* pointer() const { return flag_.data<int32_t>(); }
  /// The row that was bad, or -1. Waits for the device.
  int64_t bad_row() const { return flag_.to_vector<int32_t>()[0] - 1; }

 private:
  Tensor flag_;
};

}  // namespace tessera
