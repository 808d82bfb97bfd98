#include "framework/autograd/graph.h"

#include <algorithm>

#include "kernels/common/error.h"

namespace tessera {
namespace {

// A slot for the second role of an input: an op may write to the targets of all its inputs at once.
SlotPtr apart(const SlotPtr& input) {
  return std::make_shared<SlotState>(SlotState{.producer = input->producer,
                                               .shape = input->shape,
                                               .dtype = GradientSlot(input).dtype(),
                                               .device = input->device,
                                               .gradient = {},
                                               .parameter = nullptr});
}

}  // namespace

SlotPtr Graph::slot_of(const Variable& variable) {
  if (!variable.wants_gradient()) return nullptr;
  if (variable.slot()) return variable.slot();
  SlotPtr& slot = parameters_[variable.parameter().get()];
  if (!slot) {
    slot = std::make_shared<SlotState>(SlotState{.producer = "parameter",
                                                 .shape = variable.shape(),
                                                 .dtype = variable.dtype(),
                                                 .device = variable.device(),
                                                 .gradient = {},
                                                 .parameter = variable.parameter(),
                                                 .leaf = true});
  }
  return slot;
}

void Graph::expect_before_backward(const char* op) const {
  expect(!consumed_, "{}: backward() already ran on this pass; make a new Pass for the next step", op);
}

void Graph::append(Node node) {
  expect_before_backward(node.name);
  for (const SlotPtr& input : node.inputs) {
    if (input && input->leaf) ++input->pending;
  }
  nodes_.push_back(std::move(node));
}

void Graph::backward(const SlotPtr& output, const Tensor& seed) {
  expect(
      !consumed_,
      "backward: it already ran on this pass and freed what it had saved; to train on several losses, add them first; "
      "gradients are tensors, not variables, so a second derivative is not available");
  consumed_ = true;
  GradientSlot(output).add(seed);
  while (!nodes_.empty()) {
    Node node = std::move(nodes_.back());
    nodes_.pop_back();
    run(node);
    node.backward = nullptr;  // frees what it saved before anybody is told that a gradient is ready
    release_inputs(node);
  }
}

void Graph::run(Node& node) {
  std::vector<Tensor> gradients;
  bool arrived = false;
  for (const SlotPtr& output : node.outputs) {
    gradients.push_back(output ? std::move(output->gradient) : Tensor());
    if (output) output->gradient = {};
    arrived |= gradients.back().defined();
  }
  if (!arrived) return;
  std::vector<GradientSlot> slots;
  std::vector<std::pair<SlotPtr, SlotPtr>> repeated;  // and where its further gradient collects
  for (auto input = node.inputs.begin(); input != node.inputs.end(); ++input) {
    const bool again = *input && std::find(node.inputs.begin(), input, *input) != input;
    slots.emplace_back(again ? repeated.emplace_back(*input, apart(*input)).second : *input);
  }
  node.backward(gradients, slots);
  for (const auto& [input, further] : repeated) {
    if (further->gradient.defined()) GradientSlot(input).add(further->gradient);
  }
  if (observer_) observer_(node);
}

void Graph::release_inputs(const Node& node) {
  for (const SlotPtr& input : node.inputs) {
    if (input && input->leaf && --input->pending == 0) announce(input);
  }
}

void Graph::on_gradient_ready(std::function<void(ParameterState&)> hook) {
  expect_before_backward("on_gradient_ready");
  parameter_hooks_.push_back(std::move(hook));
}

void Graph::on_gradient_ready(const Variable& leaf, std::function<void(const Tensor&)> hook) {
  expect_before_backward("on_gradient_ready");
  const bool ours = !leaf.pass() || leaf.pass().graph().get() == this;
  const SlotPtr slot = ours ? slot_of(leaf) : nullptr;
  expect(slot != nullptr && slot->leaf,
         "on_gradient_ready: only leaves of this pass and trainable parameters have hooks; make this value with "
         "pass.leaf()");
  leaf_hooks_.emplace(slot, std::move(hook));
}

void Graph::announce(const SlotPtr& leaf) {
  if (leaf->parameter) {
    for (const auto& hook : parameter_hooks_) hook(*leaf->parameter);
  }
  GradientSlot(leaf).keep_apart();
  const auto [first, last] = leaf_hooks_.equal_range(leaf);
  for (auto hook = first; hook != last; ++hook) hook->second(GradientSlot(leaf).arrived());
}

}  // namespace tessera
