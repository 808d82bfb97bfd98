// A module is a plain value type: named parameters, a `visit` that lists its members once, and a call operator that is
// an expression in `ops::`. Modules move but do not copy. Everything else follows from `visit`:
//
//     struct Scale {
//       explicit Scale(int64_t dim) : weight({dim}, Init::ones()) {}
//       Parameter weight;                                                       // [dim]
//       template <class Each> void visit(Each&& each) { each("weight", weight); }
//       Variable operator()(const Variable& x) const { return ops::mul(x, weight); }
//     };
#pragma once

#include "framework/ops.h"
#include "framework/parameters/arena.h"
#include "framework/parameters/visit.h"

namespace tessera {

/// Moves, does not copy, and lists its members.
template <class T>
concept Module = Visitable<T> && std::movable<T> && !std::copyable<T>;

/// Moves a model that lies in no arena to `device`.
template <Module Model>
void to(Model& model, Device device) {
  for (const ParameterPtr& parameter : parameters(model)) {
    expect(parameter->arenas == 0, "to: parameter '{}' lies in an arena; build the arena on {} instead",
           parameter->name, to_string(device));
    parameter->value = parameter->value.to(device);
    parameter->gradient = {};
  }
}

/// Gives `copy`, a model built with the same options, weights of its own that equal those of `model`. Where `copy` lies
/// in an arena its mirror follows, but not what `keep_masters` left of the masters: copy before that.
template <Module Model>
void copy_weights(Model& model, Model& copy) {
  const std::vector<ParameterPtr> from = parameters(model);
  const std::vector<ParameterPtr> into = parameters(copy);
  expect(from.size() == into.size(), "copy_weights: the models have {} and {} parameters", from.size(), into.size());
  name_members(copy);
  for (size_t i = 0; i < from.size(); ++i) {
    expect(from[i]->shape == into[i]->shape, "copy_weights: '{}' is {} here and {} there", from[i]->name,
           from[i]->shape, into[i]->shape);
    if (!into[i]->value.defined()) into[i]->value = empty_like(from[i]->value);
    into[i]->value.copy_from(from[i]->value);
    refresh_mirror(*into[i]);
  }
}

}  // namespace tessera
