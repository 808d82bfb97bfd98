#include "framework/autograd/autograd.h"

#include "framework/autograd/dropout_keys.h"

namespace tessera {

// ── Pass ──

namespace {

// What a cache holds was computed by earlier passes: no gradient would reach the weights that made it.
const Pass::Options& recordable(const Pass::Options& options) {
  expect(options.cache == nullptr, "pass: a cache is for inference; make this pass with Pass::inference(&cache)");
  return options;
}

}  // namespace

Pass Pass::recording(const Options& options) { return Pass({recordable(options), std::make_shared<Graph>()}); }

Pass Pass::inference(KvCache* cache) { return Pass({{.training = false, .cache = cache}, nullptr}); }

Pass Pass::with_new_tape() const {
  return Pass({recordable(state_->options), std::make_shared<Graph>(), state_->observer});
}

Pass Pass::without_tape() const { return Pass({state_->options, nullptr, state_->observer}); }

Pass Pass::with_observer(Observer observer) const {
  return Pass({state_->options, state_->graph, std::move(observer)});
}

bool Pass::is_recording() const { return state_ != nullptr && state_->graph != nullptr; }

RandomKey Pass::key(uint64_t site) const {
  const Options& options = state_->options;
  const uint64_t* place = options.keys != nullptr ? options.keys->place_of(site) : nullptr;
  if (place != nullptr) return RandomKey(place);
  return dropout_key(options.seed, options.iteration, site);
}

Variable Pass::input(Tensor value) const {
  expect(value.defined(), "input: the tensor is undefined; give it values first");
  return {std::move(value), *this, nullptr};
}

Variable Pass::parameter(const Parameter& parameter) const { return {parameter, *this}; }

Variable Pass::leaf(Tensor value) const {
  expect(value.defined(), "leaf: the tensor is undefined; give it values first");
  expect(is_floating(value.dtype()), "leaf: a {} tensor has no gradient", value.dtype());
  auto slot = std::make_shared<SlotState>(SlotState{.producer = "leaf",
                                                    .shape = value.shape(),
                                                    .dtype = value.dtype(),
                                                    .device = value.device(),
                                                    .gradient = {},
                                                    .parameter = nullptr,
                                                    .leaf = true});
  return {std::move(value), *this, std::move(slot)};
}

void Pass::on_gradient_ready(std::function<void(ParameterState&)> hook) const {
  expect(is_recording(), "on_gradient_ready: this pass records nothing");
  state_->graph->on_gradient_ready(std::move(hook));
}

void Pass::on_gradient_ready(const Variable& leaf, std::function<void(const Tensor&)> hook) const {
  expect(is_recording(), "on_gradient_ready: this pass records nothing");
  state_->graph->on_gradient_ready(leaf, std::move(hook));
}

// ── Variable ──

Variable::Variable(const Parameter& parameter) {
  if (!parameter) return;
  value_ = parameter.value();
  parameter_ = parameter.state();
}

Tensor Variable::value_as(DType dtype) const {
  if (dtype == value_.dtype()) return value_;
  if (parameter_ && parameter_->mirror.defined() && parameter_->mirror.dtype() == dtype) return parameter_->mirror;
  return value_.to(dtype);
}

Tensor Variable::gradient() const {
  if (parameter_) return parameter_->gradient_written ? parameter_->gradient : Tensor();
  expect(slot_ != nullptr && slot_->leaf,
         "gradient: only leaves and parameters keep theirs; make this value with pass.leaf()");
  return slot_->gradient;
}

Variable Variable::recomputed_by(std::function<Tensor()> recipe) && {
  if (slot_) recipe_ = std::make_shared<const std::function<Tensor()>>(std::move(recipe));
  return std::move(*this);
}

// ── record and backward ──

namespace detail {

Pass common_pass(const char* op, std::span<const Variable* const> inputs) {
  Pass pass;
  for (const Variable* input : inputs) {
    if (!input->pass()) continue;
    expect(!pass || pass == input->pass(),
           "{}: its inputs come from two different passes; give it the value() of one of them, which is a constant; "
           "inside recompute, pass it through the block's argument",
           op);
    pass = input->pass();
  }
  return pass;
}

void observe(const Pass& pass, const char* op, std::span<const Variable* const> inputs,
             std::span<const Tensor> outputs) {
  if (pass && pass.observer()) pass.observer()(op, inputs, outputs);
}

bool must_record(const char* op, const Pass& pass, std::span<const Variable* const> inputs) {
  if (!pass.is_recording()) return false;
  for (const Variable* input : inputs) {
    expect(input->origin() == nullptr,
           "{}: an input was computed from the parameter '{}' outside of this pass, so no gradient would reach it; "
           "compute it from pass.parameter(…), or detach() it",
           op, input->origin() == nullptr ? "" : input->origin()->name);
  }
  return std::any_of(inputs.begin(), inputs.end(), [](const Variable* input) { return input->wants_gradient(); });
}

Variable unrecorded(const Tensor& output, const Pass& pass, std::span<const Variable* const> inputs) {
  Variable variable(output, pass, nullptr);
  if (pass) return variable;
  for (const Variable* input : inputs) {
    if (input->origin()) return std::move(variable).computed_from(input->origin());
    if (input->wants_gradient()) return std::move(variable).computed_from(input->parameter());
  }
  return variable;
}

std::vector<Variable> record(const char* op, std::span<const Tensor> outputs, const Pass& pass,
                             std::span<const Variable* const> inputs, Graph::Backward backward) {
  Graph& graph = *pass.graph();
  Graph::Node node{.name = op, .inputs = {}, .outputs = {}, .backward = std::move(backward)};
  for (const Variable* input : inputs) node.inputs.push_back(graph.slot_of(*input));
  std::vector<Variable> variables;
  for (const Tensor& output : outputs) {
    node.outputs.push_back(std::make_shared<SlotState>(SlotState{.producer = op,
                                                                 .shape = output.shape(),
                                                                 .dtype = output.dtype(),
                                                                 .device = output.device(),
                                                                 .gradient = {},
                                                                 .parameter = nullptr}));
    variables.emplace_back(output, pass, node.outputs.back());
  }
  graph.append(std::move(node));
  return variables;
}

}  // namespace detail

void backward(const Variable& loss, double scale) {
  expect(loss.defined() && loss.value().numel() == 1,
         "backward: the loss must be a scalar; give a seed gradient for {}", loss.shape());
  backward(loss, Tensor::full(loss.shape(), scale, loss.dtype(), loss.device()));
}

void backward(const Variable& output, const Tensor& seed) {
  expect(output.pass().is_recording() && output.slot() != nullptr,
         "backward: nothing was recorded for this value; feed the model from a recording Pass");
  output.pass().graph()->backward(output.slot(), seed);
}

}  // namespace tessera
