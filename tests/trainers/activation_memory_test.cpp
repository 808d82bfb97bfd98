// How much of a step's activations waits for the backward pass, counted by the allocator.
#include <gtest/gtest.h>

#include "framework/tensor/allocator.h"
#include "trainers/model_setup.h"

namespace tessera {
namespace {

// Bytes that a recorded forward pass of the 6-layer model keeps.
int64_t kept_bytes(DType dtype) {
  Config config;  // 6 layers of width 384
  config.dtype = dtype;
  config.block_size = 64;
  LanguageModel model(model_options(config, 65));
  const ParameterArena arena(model, arena_options(config, {}));
  const Tensor ids = Tensor::zeros({2, config.block_size}, DType::i32);
  const int64_t before = allocator_stats({}).bytes_in_use;
  const Variable loss = model.loss(Pass::recording({}).input(ids), ids);
  return allocator_stats({}).bytes_in_use - before;
}

TEST(ActivationMemory, SixteenBitKeepsAtMostThreeFifths) {
  const auto single = static_cast<double>(kept_bytes(DType::f32));
  for (const DType dtype : {DType::bf16, DType::f16}) {
    EXPECT_LE(static_cast<double>(kept_bytes(dtype)) / single, 0.60) << name_of(dtype);
  }
}

}  // namespace
}  // namespace tessera
