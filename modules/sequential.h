// Modules called one after the other.
#pragma once

#include <string>
#include <tuple>

#include "modules/module.h"

namespace tessera {

/// `Sequential model(Linear({…}), [](const Variable& x) { return ops::gelu(x); }, Linear({…}));`
/// Members are named "0", "1", …; a layer without parameters may be any function of a Variable.
template <class... Layers>
class Sequential {
 public:
  explicit Sequential(Layers... layers) : layers_(std::move(layers)...) {}

  template <class Each>
  void visit(Each&& each) {
    visit_each(each, std::index_sequence_for<Layers...>{});
  }

  Variable operator()(const Variable& x) const {
    Variable y = x;
    std::apply([&](const auto&... layer) { ((y = layer(y)), ...); }, layers_);
    return y;
  }

  /// The `I`-th module.
  template <size_t I>
  auto& get() {
    return std::get<I>(layers_);
  }

 private:
  template <class Each, size_t... I>
  void visit_each(Each& each, std::index_sequence<I...>) {
    (visit_if_module(each, std::to_string(I), std::get<I>(layers_)), ...);
  }
  template <class Each, class Layer>
  static void visit_if_module(Each& each, const std::string& name, Layer& layer) {
    if constexpr (Visitable<Layer>) each(name, layer);
  }

  std::tuple<Layers...> layers_;
};

}  // namespace tessera
