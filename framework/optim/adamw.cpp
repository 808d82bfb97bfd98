#include "framework/optim/adamw.h"

#include "kernels/adamw/adamw.h"
#include "kernels/common/philox.h"

namespace tessera {

AdamW::AdamW(const ParameterArena& arena, const Options& options)
    : arena_(&arena),
      options_(options),
      moment1_(Tensor::zeros({arena.size()}, arena.gradients().dtype(), arena.gradients().device(),
                             "the optimizer's moments")),
      moment2_(Tensor::zeros({arena.size()}, arena.gradients().dtype(), arena.gradients().device(),
                             "the optimizer's moments")) {
  expect(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1,
         "AdamW: the betas must lie in [0, 1), not {} and {}", options.beta1, options.beta2);
}

void AdamW::step(const StepState* state) const {
  update(0, arena_->matrices_end(), options_.weight_decay, state);
  update(arena_->matrices_end(), arena_->size(), 0, state);
}

void AdamW::update(int64_t begin, int64_t end, double weight_decay, const StepState* state) const {
  if (begin == end) return;
  const auto part = [&](const Tensor& buffer) { return buffer.slice(0, begin, end); };
  launch(AdamWStep{.weight = part(arena_->weights()).out<1>(),
                   .moment1 = part(moment1_).out<1>(),
                   .moment2 = part(moment2_).out<1>(),
                   .gradient = part(arena_->gradients()).in<1>(),
                   .mirror = arena_->mirror().defined() ? part(arena_->mirror()).out<1>() : Out<1>{},
                   .state = state,
                   .weight_decay = static_cast<float>(weight_decay),
                   .beta1 = static_cast<float>(options_.beta1),
                   .beta2 = static_cast<float>(options_.beta2),
                   .epsilon = static_cast<float>(options_.epsilon),
                   .rounding_key = mix(options_.seed, hash_path("optimizer.stochastic_rounding")),
                   .first = begin},
         exec_of(moment1_.device()));
}

}  // namespace tessera
