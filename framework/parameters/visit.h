// Walking a model. A module lists its members once:
//
//     template <class Each>
//     void visit(Each&& each) { each("weight", weight); each("bias", bias); each("norm", norm); }
//
// and names, counts, arena layout, checkpoint keys and devices follow from it.
#pragma once

#include <algorithm>
#include <concepts>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "framework/parameters/parameter.h"

namespace tessera {

/// A place in a model that draws random numbers (dropout). Its key is a hash of its path, set when the model is named;
/// until then all sites have the same one and draw the same numbers.
struct Site {
  uint64_t hash = 0;
};

namespace detail {

struct VisitProbe {
  template <class Member>
  void operator()(const std::string&, Member&) const {}
};

/// Gives names on one walk over a model.
class Namer {
 public:
  void name(const std::string& path, Parameter& parameter);
  void name(const std::string& path, Site& site);

 private:
  void claim(const std::string& path, const void* member);

  std::map<std::string, const void*> members_;  // by path
  std::set<const void*> named_;
};

}  // namespace detail

/// Has members to visit.
template <class Module>
concept Visitable = requires(Module& module) {
  module.visit(detail::VisitProbe{});
};

/// Calls `visitor(path, member)` for every Parameter that exists and every Site below `member`, depth first, in the
/// order in which the modules list them.
template <class Member, class Visitor>
void visit_members(Member& member, const std::string& path, Visitor&& visitor) {
  if constexpr (std::same_as<Member, Parameter>) {
    if (member) visitor(path, member);
  } else if constexpr (std::same_as<Member, Site>) {
    visitor(path, member);
  } else if constexpr (Visitable<Member>) {
    member.visit([&](const std::string& name, auto& child) {
      visit_members(child, path.empty() ? name : path + "." + name, visitor);
    });
  } else if constexpr (requires { member.has_value(); }) {
    if (member.has_value()) visit_members(*member, path, visitor);
  } else if constexpr (requires { member.size(); }) {
    for (size_t i = 0; i < member.size(); ++i) visit_members(member[i], path + "." + std::to_string(i), visitor);
  } else {
    static_assert(Visitable<Member>,
                  "a visited member is a Parameter, a Site, a module, or a vector or optional of them");
  }
}

/// Gives every parameter its path in this model as name, tied weights their first, and every site its path's hash. The
/// model that is named last counts, so a layer that moved into a larger model gets its place there; in an arena names
/// stay, since a checkpoint may hold them. Throws if two members have one path.
template <Visitable Model>
void name_members(Model& model) {
  detail::Namer namer;
  visit_members(model, "", [&](const std::string& path, auto& member) { namer.name(path, member); });
}

/// Handles to all parameters, each once (tied weights under their first name), in visiting order.
template <Visitable Model>
std::vector<ParameterPtr> parameters(Model& model) {
  std::vector<ParameterPtr> all;
  visit_members(model, "", [&]<class Member>(const std::string&, Member& member) {
    if constexpr (std::same_as<Member, Parameter>) {
      if (std::find(all.begin(), all.end(), member.state()) == all.end()) all.push_back(member.state());
    }
  });
  return all;
}

/// The same for a model that is only being used: visiting hands out handles and changes nothing.
template <Visitable Model>
std::vector<ParameterPtr> parameters(const Model& model) {
  return parameters(const_cast<Model&>(model));
}

/// The number of weights.
template <Visitable Model>
int64_t parameter_count(const Model& model) {
  int64_t count = 0;
  for (const ParameterPtr& parameter : parameters(model)) count += parameter->shape.numel();
  return count;
}

struct InitializeOptions {
  uint64_t seed = 0;
  DType dtype = DType::f32;
  Device device = {};
};

/// Names the model's parameters and gives each memory of its own with its first values, also where it has values. For
/// training, build a ParameterArena instead, which does the same in one buffer. Throws if a parameter lies in one.
template <Visitable Model>
void initialize(Model& model, const InitializeOptions& options = {}) {
  for (const ParameterPtr& parameter : parameters(model)) {
    expect(
        parameter->arenas == 0,
        "initialize: parameter '{}' lies in an arena, which gave it its values; initialize before building the arena",
        parameter->name);
  }
  name_members(model);
  for (const ParameterPtr& parameter : parameters(model)) {
    parameter->value = Tensor::empty(parameter->shape, options.dtype, options.device);
    draw_initial_values(*parameter, options.seed);
  }
}

}  // namespace tessera
