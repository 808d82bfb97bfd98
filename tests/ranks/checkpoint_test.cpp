// Checkpoints of a training over several ranks: what its split masters leave in them, and who may go on from them.
#include <gtest/gtest.h>

#include "tests/ranks/ranks_fixture.h"

namespace tessera {
namespace {

// A checkpoint of 16-bit training with ZeRO holds the float32 masters: it goes on with the same bits, and without ZeRO.
TEST_F(RanksTest, SplitMastersAreSavedWhole) {
  Config settings = config();
  settings.zero = 1;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    settings.dtype = dtype;
    const CheckpointStore store(folder_ / std::string(name_of(dtype)), 0);
    Trainer straight(settings, shared_ranks());
    for (int i = 0; i < 5; ++i) straight.step();
    straight.save(store);
    Trainer again(settings, shared_ranks());
    again.load(*store.latest());
    const std::vector<float> saved = values_of(straight.weights());
    EXPECT_EQ(saved.empty(), ranks().rank() > 0);
    EXPECT_EQ(values_of(again.weights()), saved);
    EXPECT_EQ(again.arena().masters().to_vector<float>(), straight.arena().masters().to_vector<float>());
    Config unsplit = settings;
    unsplit.zero = 0;
    Trainer alone(unsplit);
    alone.load(*store.latest());
    if (ranks().rank() == 0) {
      EXPECT_EQ(values_of(alone.weights()), saved);
    }
    for (int i = 0; i < 5; ++i) {
      const double expected = straight.step().train_loss;
      EXPECT_EQ(again.step().train_loss, expected);
      EXPECT_NEAR(alone.step().train_loss, expected, 2e-3 * expected);
    }
    EXPECT_EQ(values_of(again.weights()), values_of(straight.weights()));
  }
}

// A checkpoint knows no number of ranks: saved by all and resumed by one, and the other way.
TEST_F(RanksTest, CheckpointsGoOnAtAnyNumberOfRanks) {
  Config settings = config();
  settings.zero = 1;
  const CheckpointStore store(folder_ / "together", 0);
  Trainer together(settings, shared_ranks());
  for (int i = 0; i < 5; ++i) together.step();
  together.save(store);

  Trainer again(settings, shared_ranks());
  again.load(*store.latest());
  settings.zero = 0;
  Trainer alone(settings);
  alone.load(*store.latest());
  for (int i = 0; i < 5; ++i) {
    const double expected = together.step().train_loss;
    EXPECT_EQ(again.step().train_loss, expected);
    EXPECT_NEAR(alone.step().train_loss, expected, 1e-6 * expected);
  }
  EXPECT_EQ(again.arena().weights().to_vector<float>(), together.arena().weights().to_vector<float>());
  expect_same_parameters(alone, together, 1e-5);

  const CheckpointStore store_of_one(folder_ / ("alone" + std::to_string(ranks().rank())), 0);
  alone.save(store_of_one);
  settings.zero = 1;
  Trainer joined(settings, shared_ranks());
  joined.load(*store_of_one.latest());
  const double expected = alone.step().train_loss;
  EXPECT_NEAR(joined.step().train_loss, expected, 1e-6 * expected);
}

}  // namespace
}  // namespace tessera
