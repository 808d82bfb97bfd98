#include "framework/amp/autopsy.h"

#include <cmath>

namespace tessera {
namespace {

// "blocks.3.attention.to_q.weight" belongs to the layer blocks.3.attention.to_q.
std::string layer_of(const std::string& parameter) {
  const size_t dot = parameter.rfind('.');
  return dot == std::string::npos ? parameter : parameter.substr(0, dot);
}

}  // namespace

std::optional<std::string> layer_of(std::span<const Variable* const> inputs) {
  std::optional<std::string> layer;
  for (const Variable* input : inputs) {
    if (input->parameter()) layer = layer_of(input->parameter()->name);
  }
  return layer;
}

std::string Finding::describe() const {
  return format_message(
      "the first value that is not finite appeared in {}, in op {} of layer {}: {} of {} elements of a tensor {}; the "
      "largest finite one is {}",
      {phase, op, layer, bad, shape.numel(), shape, largest_finite});
}

void Autopsy::look_at(Record& record, const char* phase, const char* op, const Tensor& tensor) {
  if (record.finding || !tensor.defined() || !is_floating(tensor.dtype())) return;
  Finding finding{.phase = phase, .op = op, .layer = record.layer, .shape = tensor.shape()};
  for (const double value : tensor.to(DType::f64).to_vector<double>()) {
    if (std::isfinite(value)) finding.largest_finite = std::max(finding.largest_finite, std::abs(value));
    else ++finding.bad;
  }
  if (finding.bad > 0) record.finding = finding;
}

std::optional<Finding> find_in_reduced(const ParameterArena& arena) {
  Autopsy::Record record;
  for (const ParameterArena::Entry& entry : arena.entries()) {
    record.layer = layer_of(entry.parameter->name);
    Autopsy::look_at(record, "reduce", "all_reduce", entry.parameter->gradient);
  }
  return record.finding;
}

Pass Autopsy::watch(const Pass& pass) {
  const auto on_forward = [record = record_](const char* op, std::span<const Variable* const> inputs,
                                             std::span<const Tensor> outputs) {
    if (const auto layer = layer_of(inputs)) record->layer = *layer;
    for (const Tensor& output : outputs) look_at(*record, "forward", op, output);
  };
  if (pass.is_recording()) {
    pass.graph()->observe_backward([record = record_](const Graph::Node& node) {
      for (const SlotPtr& input : node.inputs) {
        if (input && input->parameter) record->layer = layer_of(input->parameter->name);
      }
      for (const SlotPtr& input : node.inputs) {
        if (input)
          look_at(*record, "backward", node.name, input->parameter ? input->parameter->gradient : input->gradient);
      }
    });
  }
  return pass.with_observer(on_forward);
}

}  // namespace tessera
