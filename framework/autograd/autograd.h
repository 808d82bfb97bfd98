// Recording and running backward: what ops and training loops need.
//
//     Variable scale(const Variable& x, double factor) {            // an op: forward and backward in one function
//       Tensor y = …;
//       return record("scale", y, [factor](const Tensor& dy, GradientSlot dx) { dx.add(…dy, factor…); }, x);
//     }
#pragma once

#include <array>
#include <concepts>
#include <utility>

#include "framework/autograd/graph.h"
#include "framework/autograd/variable.h"

namespace tessera {

namespace detail {
/// The pass that the inputs agree on. Throws if two different ones meet.
Pass common_pass(const char* op, std::span<const Variable* const> inputs);
/// A node for `outputs`, and the variables that stand for them.
std::vector<Variable> record(const char* op, std::span<const Tensor> outputs, const Pass& pass,
                             std::span<const Variable* const> inputs, Graph::Backward backward);
/// Shows the op to the pass's observer, if it has one.
void observe(const Pass& pass, const char* op, std::span<const Variable* const> inputs,
             std::span<const Tensor> outputs);
/// True when a node for these inputs must be kept. Throws if the gradient of one would be lost.
bool must_record(const char* op, const Pass& pass, std::span<const Variable* const> inputs);
/// The output where none is kept.
Variable unrecorded(const Tensor& output, const Pass& pass, std::span<const Variable* const> inputs);
}  // namespace detail

/// The output of an op with several results. `backward(gradients, slot…)` gets an array of output gradients, some of
/// which may be undefined, and one GradientSlot per input, in order.
template <size_t N, class Backward, std::same_as<Variable>... Inputs>
std::array<Variable, N> record_all(const char* op, const std::array<Tensor, N>& outputs, Backward backward,
                                   const Inputs&... inputs) {
  const std::array<const Variable*, sizeof...(Inputs)> all{&inputs...};
  const Pass pass = detail::common_pass(op, all);
  detail::observe(pass, op, all, outputs);
  std::array<Variable, N> variables;
  if (!detail::must_record(op, pass, all)) {
    for (size_t i = 0; i < N; ++i) variables[i] = detail::unrecorded(outputs[i], pass, all);
    return variables;
  }
  auto run = [backward = std::move(backward)](std::span<Tensor> gradients, std::span<GradientSlot> slots) {
    std::array<Tensor, N> arrived;
    for (size_t i = 0; i < N; ++i) arrived[i] = std::move(gradients[i]);
    [&]<size_t... I>(std::index_sequence<I...>) { backward(arrived, slots[I]...); }
    (std::index_sequence_for<Inputs...>{});
  };
  std::vector<Variable> recorded = detail::record(op, outputs, pass, all, std::move(run));
  for (size_t i = 0; i < N; ++i) variables[i] = std::move(recorded[i]);
  return variables;
}

/// The output of an op. `backward(dy, slot…)` gets the gradient of the output and one GradientSlot per input, in order.
/// It must capture tensors (or `Saved`), never variables, and leave dy as it is, which others may hold too. This is
/// also how user code adds an op of its own.
template <class Backward, std::same_as<Variable>... Inputs>
Variable record(const char* op, const Tensor& output, Backward backward, const Inputs&... inputs) {
  auto run = [backward = std::move(backward)](const std::array<Tensor, 1>& dy, auto... slots) {
    backward(dy[0], slots...);
  };
  return std::move(record_all<1>(op, {output}, std::move(run), inputs...)[0]);
}

/// Computes the gradients of everything that `loss`, a scalar, was recorded from; they are multiplied by `scale`.
/// Gradients of parameters add up over passes until their `gradient_written` is reset. Values must not change between
/// recording and this: there is no version check.
void backward(const Variable& loss, double scale = 1);
/// The same for an output of any shape with the gradient `seed`.
void backward(const Variable& output, const Tensor& seed);

}  // namespace tessera
