#include "framework/optim/sgd.h"

#include "kernels/sgd/sgd.h"

namespace tessera {

Sgd::Sgd(const ParameterArena& arena, const Options& options, std::vector<ArenaRange> owned)
    : arena_(&arena), options_(options), owned_(arena.or_all(std::move(owned))) {
  expect(arena.masters().defined() || arena.weights().dtype() == arena.gradients().dtype(),
         "Sgd: the arena keeps no master weights; keep them, or use AdamW, which rounds stochastically");
  expect(options.momentum >= 0 && options.momentum < 1, "Sgd: momentum must lie in [0, 1), not {}", options.momentum);
  expect(options.weight_decay >= 0, "Sgd: weight_decay must be 0 or more, not {}", options.weight_decay);
  if (options.momentum > 0) {
    velocity_ = Tensor::zeros({total_size(owned_)}, arena.gradients().dtype(), arena.gradients().device());
  }
}

std::map<std::string, Tensor> Sgd::state_buffers() const {
  if (!velocity_.defined()) return {};
  return {{"momentum_buffer", velocity_}};
}

void Sgd::step(const StepState* state) const {
  visit_parts(owned_, arena_->matrices(),
              [&](const ArenaRange& part, int64_t offset) { update(part, offset, options_.weight_decay, state); });
  visit_parts(owned_, arena_->vectors(),
              [&](const ArenaRange& part, int64_t offset) { update(part, offset, 0, state); });
}

void Sgd::update(const ArenaRange& part, int64_t offset, double weight_decay, const StepState* state) const {
  const ArenaRange own{offset, offset + part.size()};
  const Tensor velocity = velocity_.defined() ? own.of(velocity_) : Tensor();
  const auto present = [](const Tensor& tensor) { return tensor.defined() ? tensor.out<1>() : Out<1>{}; };
  launch(SgdStep{.weight = arena_->trained(part, offset).out<1>(),
                 .velocity = present(velocity),
                 .gradient = part.of(arena_->gradients()).in<1>(),
                 .mirror = present(arena_->copied(part)),
                 .state = state,
                 .weight_decay = weight_decay,
                 .momentum = options_.momentum},
         exec_of(arena_->weights().device()));
}

}  // namespace tessera
