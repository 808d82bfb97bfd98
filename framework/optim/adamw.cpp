#include "framework/optim/adamw.h"

#include "kernels/adamw/adamw.h"
#include "kernels/common/philox.h"

namespace tessera {

AdamW::AdamW(const ParameterArena& arena, const Options& options, std::vector<ArenaRange> owned)
    : arena_(&arena),
      options_(options),
      owned_(arena.or_all(std::move(owned))),
      moment1_(Tensor::zeros({total_size(owned_)}, arena.gradients().dtype(), arena.gradients().device(),
                             "the optimizer's moments")),
      moment2_(Tensor::zeros({total_size(owned_)}, arena.gradients().dtype(), arena.gradients().device(),
                             "the optimizer's moments")) {
  expect(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1,
         "AdamW: the betas must lie in [0, 1), not {} and {}", options.beta1, options.beta2);
  expect(options.epsilon > 0, "AdamW: epsilon must be above 0, not {}", options.epsilon);
  expect(options.weight_decay >= 0, "AdamW: weight_decay must be 0 or more, not {}", options.weight_decay);
}

void AdamW::step(const StepState* state) const {
  visit_parts(owned_, arena_->matrices(),
              [&](const ArenaRange& part, int64_t offset) { update(part, offset, options_.weight_decay, state); });
  visit_parts(owned_, arena_->vectors(),
              [&](const ArenaRange& part, int64_t offset) { update(part, offset, 0, state); });
}

void AdamW::update(const ArenaRange& part, int64_t offset, double weight_decay, const StepState* state) const {
  const ArenaRange own{offset, offset + part.size()};
  const Tensor copy = arena_->copied(part);
  launch(AdamWStep{.weight = arena_->trained(part, offset).out<1>(),
                   .moment1 = own.of(moment1_).out<1>(),
                   .moment2 = own.of(moment2_).out<1>(),
                   .gradient = part.of(arena_->gradients()).in<1>(),
                   .mirror = copy.defined() ? copy.out<1>() : Out<1>{},
                   .state = state,
                   .weight_decay = weight_decay,
                   .beta1 = options_.beta1,
                   .beta2 = options_.beta2,
                   .epsilon = options_.epsilon,
                   .rounding_key = mix(options_.seed, hash_path("optimizer.stochastic_rounding")),
                   .first = part.begin},
         exec_of(moment1_.device()));
}

}  // namespace tessera
