// How much of a step's activations waits for the backward pass, counted by the allocator.
#include <gtest/gtest.h>

#include "framework/tensor/allocator.h"
#include "trainers/model_setup.h"

namespace tessera {
namespace {

// 6 layers of width 384.
Config config_of(DType dtype, bool recompute = false) {
  Config config;
  config.dtype = dtype;
  config.block_size = 64;
  config.recompute = recompute;
  return config;
}

// Bytes that a recorded forward pass keeps.
int64_t kept_bytes(const Config& config) {
  LanguageModel model(model_options(config, 65));
  const ParameterArena arena(model, arena_options(config, {}));
  const Tensor ids = Tensor::zeros({2, config.block_size}, DType::i32);
  const int64_t before = allocator_stats({}).bytes_in_use;
  const Variable loss = model.loss(Pass::recording({}).input(ids), ids);
  return allocator_stats({}).bytes_in_use - before;
}

TEST(ActivationMemory, SixteenBitKeepsAtMostThreeFifths) {
  const auto single = static_cast<double>(kept_bytes(config_of(DType::f32)));
  for (const DType dtype : {DType::bf16, DType::f16}) {
    EXPECT_LE(static_cast<double>(kept_bytes(config_of(dtype))) / single, 0.60) << name_of(dtype);
  }
}

// Of each block only its input: a row of float32 out of about 20 that the block makes.
TEST(ActivationMemory, RecomputeKeepsTheInputsOfBlocks) {
  const auto kept = static_cast<double>(kept_bytes(config_of(DType::f32)));
  EXPECT_LE(static_cast<double>(kept_bytes(config_of(DType::f32, true))) / kept, 0.15);
}

}  // namespace
}  // namespace tessera
