// Whole models against files that PyTorch made in float64 (tests/golden/make_language_model.py): the loss, every
// gradient, and the losses of 50 AdamW steps.
#include <gtest/gtest.h>

#include "framework/optim/adamw.h"
#include "framework/optim/step_control.h"
#include "modules/language_model.h"
#include "tests/framework/ops/op_check.h"
#include "tests/golden/golden_file.h"

namespace tessera {
namespace {

struct Case {
  const char* file;
  LanguageModel::Options options;
};

const Case kCases[] = {
    {"gpt2", {.vocab_size = 65, .block_size = 17, .n_layer = 2, .n_head = 3, .n_embd = 24, .bias = true}},
    {"gpt2_tanh",
     {.vocab_size = 31,
      .block_size = 17,
      .n_layer = 1,
      .n_head = 2,
      .n_embd = 16,
      .bias = true,
      .activation = FeedForward::Kind::gelu_tanh}},
    {"llama",
     {.vocab_size = 61,
      .block_size = 17,
      .n_layer = 2,
      .n_head = 4,
      .n_embd = 24,
      .kv_heads = 2,
      .norm = Norm::Kind::rms,
      .position = LanguageModel::Position::rotary,
      .activation = FeedForward::Kind::swiglu,
      .tie_embeddings = false}},
};

// A model in its arena, with the weights of the golden file.
struct Loaded {
  Loaded(const Case& golden, DType dtype, const GoldenFile& file)
      : model(with_dtype(golden.options, dtype)), arena(model, {.dtype = dtype}) {
    for (const auto& [parameter, begin, end] : arena.entries()) {
      parameter->value.copy_from(file.tensor("weight." + parameter->name).to(dtype));
    }
  }

  static LanguageModel::Options with_dtype(LanguageModel::Options options, DType dtype) {
    options.dtype = options.residual_dtype = dtype;
    return options;
  }

  /// The loss of batch `step`, and its gradients in the arena.
  double forward_backward(const GoldenFile& file, int64_t step) const {
    const auto batch = [&](const char* name) {
      const Tensor all = file.tensor(name);
      return all.slice(0, step, step + 1).view({all.dim(1), all.dim(2)});
    };
    const Pass pass = Pass::recording({});
    arena.begin_window();
    const Variable loss = model.loss(pass.input(batch("ids")), batch("targets"));
    backward(loss);
    arena.finish_window();
    return loss.value().item();
  }

  LanguageModel model;
  ParameterArena arena;
};

class LanguageModelGolden : public testing::TestWithParam<std::tuple<size_t, DType>> {
 protected:
  const Case& golden() const { return kCases[std::get<0>(GetParam())]; }
  DType dtype() const { return std::get<1>(GetParam()); }
  double pick(double f32, double f64) const { return dtype() == DType::f64 ? f64 : f32; }
};

TEST_P(LanguageModelGolden, LossAndEveryGradient) {
  const GoldenFile file(golden().file);
  const Loaded loaded(golden(), dtype(), file);
  const double tolerance = pick(1e-5, 1e-9);
  EXPECT_NEAR(loaded.forward_backward(file, 0), file.tensor("loss").item(), tolerance);
  for (const auto& [parameter, begin, end] : loaded.arena.entries()) {
    EXPECT_LE(distance(doubles(parameter->gradient), doubles(file.tensor("gradient." + parameter->name))), tolerance)
        << parameter->name;
  }
}

TEST_P(LanguageModelGolden, FiftySteps) {
  const GoldenFile file(golden().file);
  const Loaded loaded(golden(), dtype(), file);
  const AdamW::Options adamw{.beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1};
  const AdamW optimizer(loaded.arena, adamw);
  const StepControl control({}, {.schedule = {.kind = Schedule::Kind::cosine,
                                              .learning_rate = 1e-2,
                                              .min_lr = 1e-3,
                                              .warmup_iters = 5,
                                              .decay_iters = 45},
                                 .scaling = {},
                                 .grad_clip = 1,
                                 .beta1 = adamw.beta1,
                                 .beta2 = adamw.beta2});
  const std::vector<double> losses = doubles(file.tensor("losses")), norms = doubles(file.tensor("norms"));
  for (int64_t step = 0; step < 50; ++step) {
    ASSERT_NEAR(loaded.forward_backward(file, step), losses[step], pick(1e-4, 1e-9)) << "step " << step;
    control.scan(loaded.arena.gradients());
    control.advance();
    optimizer.step(control.device_state());
    ASSERT_NEAR(control.read().gradient_norm, norms[step], pick(1e-3, 1e-8)) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(PyTorch, LanguageModelGolden,
                         testing::Combine(testing::Range<size_t>(0, std::size(kCases)),
                                          testing::Values(DType::f32, DType::f64)),
                         [](const auto& info) {
                           return std::string(kCases[std::get<0>(info.param)].file) + "_" +
                                  to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace tessera
