// The accuracy that an evaluation of a task reports, beside what the model answers token by token.
#include <gtest/gtest.h>

#include "tests/support/toy_config.h"
#include "trainers/sampler.h"
#include "trainers/trainer.h"

namespace tessera {
namespace {

// Copying two letters, with a place to spare in every row.
Config copying() {
  Config config = toy_config({});
  config.data = "task:copy:2";
  config.n_layer = 1;
  config.dropout = 0;
  config.block_size = 6;
  config.batch_size = 32;
  config.learning_rate = 1e-2;
  config.eval_iters = 2;
  config.max_iters = 200;
  return config;
}

double reported(const Trainer& trainer) {
  StepReport report;
  trainer.evaluate(report);
  return report.val_accuracy.value();
}

// The answer of a row are its targets that count; its prompt is what comes before them.
bool answers(const LanguageModel& model, std::span<const int32_t> ids, std::span<const int32_t> targets) {
  const auto counts = [](int32_t target) { return target >= 0; };
  const auto first = std::ranges::find_if(targets, counts);
  const auto end = std::find_if_not(first, targets.end(), counts);
  const auto prompt = ids.first(static_cast<size_t>(first - targets.begin()) + 1);
  return std::ranges::equal(generate(model, prompt, {.max_new_tokens = end - first, .temperature = 0}),
                            std::span(first, end));
}

// The share of the validation prompts that the model continues by the answer, always with the likeliest token.
double answered(const Trainer& trainer) {
  double right = 0, all = 0;
  for (const Rows rows : trainer.data().evaluation_batches(Split::validation, trainer.config().eval_iters)) {
    const Batch batch = trainer.data().evaluation_batch(Split::validation, rows, trainer.config().eval_iters);
    const auto length = static_cast<size_t>(trainer.config().block_size);
    for (size_t at = 0; at < batch.ids.size(); at += length, ++all) {
      const auto row = [&](const std::vector<int32_t>& tokens) { return std::span(tokens).subspan(at, length); };
      right += answers(trainer.model(), row(batch.ids), row(batch.targets)) ? 1 : 0;
    }
  }
  return right / all;
}

TEST(ExactMatch, IsTheShareOfPromptsThatTheModelAnswers) {
  Trainer trainer(copying());
  const auto train_until = [&](double share) {
    while (reported(trainer) < share && trainer.iteration() < trainer.config().max_iters) trainer.step();
    return reported(trainer);
  };
  EXPECT_LT(reported(trainer), 0.1);
  const double half_way = train_until(0.3);
  EXPECT_LT(half_way, 1);
  EXPECT_DOUBLE_EQ(half_way, answered(trainer));
  EXPECT_EQ(train_until(1), 1);
  EXPECT_EQ(answered(trainer), 1);
}

}  // namespace
}  // namespace tessera
