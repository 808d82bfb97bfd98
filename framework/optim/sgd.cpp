#include "framework/optim/sgd.h"

#include "kernels/sgd/sgd.h"

namespace tessera {

Sgd::Sgd(const ParameterArena& arena, const Options& options) : arena_(&arena), options_(options) {
  expect(arena.weights().dtype() == arena.gradients().dtype(),
         "Sgd: the arena keeps no master weights; keep them, or use AdamW, which rounds stochastically");
  if (options.momentum > 0) {
    velocity_ = Tensor::zeros({arena.size()}, arena.weights().dtype(), arena.weights().device());
  }
}

std::map<std::string, Tensor> Sgd::state_buffers() const {
  if (!velocity_.defined()) return {};
  return {{"momentum_buffer", velocity_}};
}

void Sgd::step(const StepState* state) const {
  update(0, arena_->matrices_end(), options_.weight_decay, state);
  update(arena_->matrices_end(), arena_->size(), 0, state);
}

void Sgd::update(int64_t begin, int64_t end, double weight_decay, const StepState* state) const {
  if (begin == end) return;
  const auto part = [&](const Tensor& buffer) { return buffer.defined() ? buffer.slice(0, begin, end) : Tensor(); };
  launch(SgdStep{.weight = part(arena_->weights()).out<1>(),
                 .velocity = part(velocity_).out<1>(),
                 .gradient = part(arena_->gradients()).in<1>(),
                 .mirror = part(arena_->mirror()).out<1>(),
                 .state = state,
                 .weight_decay = static_cast<float>(weight_decay),
                 .momentum = static_cast<float>(options_.momentum)},
         exec_of(arena_->weights().device()));
}

}  // namespace tessera
