// A training loop of its own around GradientReducer: parameters that only some ranks use, and a gradient that is not
// finite on one rank only.
#include "framework/distributed/gradient_reducer.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "framework/autograd/autograd.h"
#include "framework/data/batches.h"
#include "framework/distributed/agreement.h"
#include "framework/distributed/sharded_state.h"
#include "framework/optim/optimizer.h"
#include "modules/language_model.h"
#include "tests/ranks/ranks.h"

namespace tessera {
namespace {

constexpr int64_t kRows = 12;
constexpr int64_t kLength = 16;
constexpr int64_t kVocabulary = 13;

struct Loop {
  struct Options {
    DType dtype = DType::f32;
    GradientReducer::Mode mode = GradientReducer::Mode::all;
  };

  Loop(const Options& options, Communicator& ranks)
      : ranks(&ranks),
        model({.vocab_size = kVocabulary,
               .block_size = kLength,
               .n_layer = 2,
               .n_head = 2,
               .n_embd = 32,
               .dtype = options.dtype}),
        arena(model, {.mirror = options.dtype == DType::f32 ? std::nullopt : std::optional(options.dtype),
                      .parts = ranks.world()}),
        reducer(arena, ranks, {.first_bucket_bytes = 8192, .bucket_bytes = 40'000, .mode = options.mode}),
        optimizer(arena, AdamW::Options{}, {.schedule = {.learning_rate = 1e-3}, .grad_clip = 1}, {}, reducer.owned()) {
  }

  // One iteration over this rank's share of the rows; `scale` multiplies its gradients. Returns the global loss.
  double step(double scale = 1) {
    const int64_t iteration = optimizer.control().read().iteration;
    const Rows mine = share({0, kRows}, ranks->rank(), ranks->world());
    std::vector<int32_t> ids;
    for (int64_t row = mine.begin; row < mine.end; ++row) {
      for (int64_t i = 0; i <= kLength; ++i)
        ids.push_back(static_cast<int32_t>((iteration + row * 7 + i * (row % 3 + 1)) % kVocabulary));
    }
    const Tensor rows = Tensor::from(ids, {mine.count(), kLength + 1});
    reducer.begin_window();
    const Pass pass = Pass::recording({.iteration = iteration, .first_sample = mine.begin});
    const Variable loss = model.loss(pass.input(rows.slice(1, 0, kLength).contiguous_copy()),
                                     rows.slice(1, 1, kLength + 1).contiguous_copy(), kRows * kLength);
    reducer.listen(pass);
    backward(loss, scale);
    reducer.finish_window();
    optimizer.scan();
    if (reducer.owned().front().size() < arena.size()) add_up_scans(optimizer.control(), *ranks);
    optimizer.decide();
    optimizer.update();
    gather_parts(arena.weights(), reducer, *ranks);
    arena.refresh_mirror();
    return sum_over_ranks(loss.value().item(), *ranks);
  }

  Communicator* ranks;
  LanguageModel model;
  ParameterArena arena;
  GradientReducer reducer;
  Optimizer optimizer;
};

// On the last rank alone the gradients of iteration 3 overflow: all ranks skip it, as one rank does.
TEST(GradientReducer, AnOverflowOfOneRankSkipsTheStepOfAll) {
  struct Case {
    DType dtype;
    double loss_bound;
  };
  for (const Case& c : {Case{DType::f32, 1e-6}, Case{DType::f16, 5e-4}, Case{DType::bf16, 2e-3}}) {
    for (const auto mode : {GradientReducer::Mode::all, GradientReducer::Mode::own_part}) {
      SCOPED_TRACE(name_of(c.dtype));
      const std::unique_ptr<Communicator> single = single_communicator();
      Loop reference({.dtype = c.dtype}, *single);
      Loop loop({.dtype = c.dtype, .mode = ranks().world() > 1 ? mode : GradientReducer::Mode::all}, ranks());
      for (int i = 0; i < 8; ++i) {
        const double bad = i == 3 ? std::numeric_limits<double>::infinity() : 1;
        const double expected = reference.step(bad);
        const double got = loop.step(ranks().rank() == ranks().world() - 1 ? bad : 1);
        ASSERT_NEAR(got, expected, c.loss_bound * expected) << "iteration " << i;
        ASSERT_EQ(loop.optimizer.control().read().apply, i == 3 ? 0 : 1) << "iteration " << i;
      }
      EXPECT_EQ(loop.optimizer.control().read().applied, 7);
    }
  }
}

struct TwoPaths {
  Parameter shared{{64, 64}, Init::ones()};
  Parameter even{{64, 64}, Init::ones()};  // used by even ranks only
  Parameter never{{64, 64}, Init::ones()};

  template <class Each>
  void visit(Each&& each) {
    each("shared", shared);
    each("even", even);
    each("never", never);
  }
};

TEST(GradientReducer, RanksNeedNotUseTheSameParameters) {
  TwoPaths model;
  const ParameterArena arena(model, {.parts = ranks().world()});
  GradientReducer reducer(arena, ranks(), {.first_bucket_bytes = 4096, .bucket_bytes = 4096});
  for (int window = 0; window < 2; ++window) {
    arena.gradients().fill(NAN);  // nothing of an earlier window may shine through
    reducer.begin_window();
    const Pass pass = Pass::recording({});
    const Variable x = pass.input(Tensor::full({1, 64}, 1, DType::f32));
    Variable y = ops::linear(x, model.shared);
    if (ranks().rank() % 2 == 0) y = ops::linear(y, model.even);
    reducer.listen(pass);
    backward(ops::sum(y), 1);
    reducer.finish_window();
    const double evens = (ranks().world() + 1) / 2, odds = ranks().world() / 2;
    const auto first = [](const Parameter& p) { return p.gradient().to_vector<float>().front(); };
    EXPECT_EQ(first(model.shared), 64 * evens + odds);
    EXPECT_EQ(first(model.even), 64 * evens);
    EXPECT_EQ(first(model.never), 0);
  }
}

TEST(GradientReducer, AccumulationReducesOnce) {
  TwoPaths model;
  const ParameterArena arena(model, {.parts = ranks().world()});
  GradientReducer reducer(arena, ranks(), {});
  reducer.begin_window();
  for (int micro_batch = 0; micro_batch < 3; ++micro_batch) {
    const Pass pass = Pass::recording({});
    if (micro_batch == 2) reducer.listen(pass);
    backward(ops::sum(ops::linear(pass.input(Tensor::full({1, 64}, 1, DType::f32)), model.shared)), 1);
  }
  reducer.finish_window();
  EXPECT_EQ(model.shared.gradient().to_vector<float>().front(), 3 * ranks().world());
}

}  // namespace
}  // namespace tessera
