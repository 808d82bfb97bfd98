#include "framework/optim/optimizer.h"

namespace tessera {
namespace {

StepPolicy with_betas(StepPolicy policy, double beta1, double beta2) {
  policy.beta1 = beta1;
  policy.beta2 = beta2;
  return policy;
}

}  // namespace

Optimizer::Optimizer(const ParameterArena& arena, const AdamW::Options& rule, StepPolicy policy,
                     const StepState& initial, std::vector<ArenaRange> owned)
    : arena_(&arena),
      rule_(std::in_place_type<AdamW>, arena, rule, std::move(owned)),
      control_(arena.weights().device(), with_betas(policy, rule.beta1, rule.beta2), initial) {}

Optimizer::Optimizer(const ParameterArena& arena, const Sgd::Options& rule, StepPolicy policy, const StepState& initial,
                     std::vector<ArenaRange> owned)
    : arena_(&arena),
      rule_(std::in_place_type<Sgd>, arena, rule, std::move(owned)),
      control_(arena.weights().device(), with_betas(policy, 0, 0), initial) {}

StepState Optimizer::step() const {
  arena_->finish_window();
  scan();
  decide();
  update();
  return control_.read();
}

void Optimizer::scan() const {
  const std::vector<ArenaRange>& ranges = owned();
  control_.scan(ranges.front().of(arena_->gradients()));
  for (size_t i = 1; i < ranges.size(); ++i) control_.scan_more(ranges[i].of(arena_->gradients()));
}

void Optimizer::update() const {
  std::visit([&](const auto& rule) { rule.step(control_.device_state()); }, rule_);
}

const std::vector<ArenaRange>& Optimizer::owned() const {
  return std::visit([](const auto& rule) -> const std::vector<ArenaRange>& { return rule.owned(); }, rule_);
}

std::map<std::string, Tensor> Optimizer::state_buffers() const {
  return std::visit([](const auto& rule) { return rule.state_buffers(); }, rule_);
}

}  // namespace tessera
