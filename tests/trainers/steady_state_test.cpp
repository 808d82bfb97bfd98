// What a training takes from step to step once it has begun: the same, and nothing from the system.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/tensor/allocator.h"
#include "tests/support/toy_config.h"
#include "tests/temporary_folder.h"
#include "trainers/trainer.h"

namespace tessera {
namespace {

using testing::Each;
using testing::Eq;

void expect_alike_steps(const Config& config) {
  Trainer trainer(config);
  std::vector<int64_t> requests, from_system, in_use;
  for (int step = 0; step < 12; ++step) {
    const AllocatorStats before = allocator_stats({});
    trainer.step();
    const AllocatorStats after = allocator_stats({});
    if (step < 4) continue;  // buffers grow to their sizes
    requests.push_back(after.requests - before.requests);
    from_system.push_back(after.system_allocations - before.system_allocations);
    in_use.push_back(after.bytes_in_use);
  }
  EXPECT_THAT(requests, Each(Eq(requests.front())));
  EXPECT_GT(requests.front(), 0);
  EXPECT_THAT(from_system, Each(Eq(0)));
  EXPECT_THAT(in_use, Each(Eq(in_use.front())));
}

TEST(SteadyState, StepsAllocateAlikeAndNothingFromTheSystem) {
  const TemporaryFolder folder;
  write_toy_text(folder.path(), "the five boxing wizards jump quickly", 100);
  Config gpt = toy_config(folder.path());
  gpt.block_size = 16;
  gpt.batch_size = 2;
  gpt.gradient_accumulation_steps = 2;
  gpt.bias = true;
  Config llama = gpt;
  llama.bias = false;
  llama.norm = Norm::Kind::rms;
  llama.position = LanguageModel::Position::rotary;
  llama.activation = FeedForward::Kind::swiglu;
  llama.kv_heads = 1;
  llama.tie_embeddings = false;
  for (const Config& config : {gpt, llama}) {
    SCOPED_TRACE(testing::Message() << "bias = " << config.bias);
    expect_alike_steps(config);
  }
}

}  // namespace
}  // namespace tessera
