#include "framework/parameters/parameter.h"

#include <set>

#include "framework/tensor/random.h"
#include "kernels/common/philox.h"

namespace tessera {

ParameterState& Parameter::present() const {
  expect(state_ != nullptr,
         "parameter: this module has no such parameter, an absent bias for example; ask `if (parameter)` first");
  return *state_;
}

const Tensor& Parameter::value() const {
  const ParameterState& state = present();
  expect(
      state.value.defined(),
      "parameter '{}' of shape {} has no values yet; call initialize(model) first, or list it in its module's visit()",
      state.name, state.shape);
  return state.value;
}

void Parameter::set_trainable(bool trainable) const {
  ParameterState& state = present();
  expect(state.arenas == 0,
         "set_trainable: parameter '{}' was laid out by an arena already; freeze or thaw it before building the arena",
         state.name);
  state.trainable = trainable;
}

void refresh_mirror(const ParameterState& state) {
  if (state.mirror.defined()) state.mirror.copy_from(state.value);
}

void expect_distinct_names(std::span<const ParameterPtr> parameters, std::string_view op) {
  std::set<std::string_view> names;
  for (const ParameterPtr& parameter : parameters) {
    expect(!parameter->name.empty(),
           "{}: a parameter of shape {} has no name; call name_members(model) on the model that holds it first", op,
           parameter->shape);
    expect(
        names.insert(parameter->name).second,
        "{}: two parameters are named '{}', or one is listed twice; call name_members(model) on the model that holds "
        "both, and list each once",
        op, parameter->name);
  }
}

void draw_initial_values(ParameterState& state, uint64_t seed) {
  const uint64_t key = mix(seed, hash_path(state.name));
  switch (state.init.kind) {
    case Init::Kind::zeros: state.value.fill(0); break;
    case Init::Kind::ones: state.value.fill(1); break;
    case Init::Kind::normal: fill_normal(state.value, state.init.scale, key); break;
    case Init::Kind::uniform: fill_uniform(state.value, -state.init.scale, state.init.scale, key); break;
  }
}

uint64_t hash_path(std::string_view path) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : path) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash;
}

}  // namespace tessera
