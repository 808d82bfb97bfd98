// What the tests of the op share: small inputs with groups of heads and two lengths.
#pragma once

#include <gtest/gtest.h>

#include "framework/ops.h"
#include "tests/framework/ops/op_check.h"
#include "tests/framework/ops/plain_attention.h"

namespace tessera {

using ops::FlashAttentionOptions;

inline Op attention(const FlashAttentionOptions& options) {
  return [options](std::span<const Variable> v) { return ops::flash_attention(v[0], v[1], v[2], options); };
}

class FlashAttentionOp : public testing::Test {
 protected:
  const Tensor q_ = uniform({2, 5, 4, 3}, 1, -2, 2), k_ = uniform({2, 7, 2, 3}, 2, -2, 2),
               v_ = uniform({2, 7, 2, 3}, 3);
  const std::vector<Tensor> inputs_{q_, k_, v_};

  void check(const FlashAttentionOptions& options, const PlainAttention& plain) const {
    check_op(attention(options), inputs_, plain(q_, k_, v_), {.roundings = 2});  // of the weights and of the result
  }
};

}  // namespace tessera
