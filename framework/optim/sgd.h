// Stochastic gradient descent with momentum over an arena; weight decay on matrices only.
#pragma once

#include <map>
#include <string>

#include "framework/parameters/arena.h"
#include "kernels/common/step_state.h"

namespace tessera {

class Sgd {
 public:
  struct Options {
    double momentum = 0;      ///< in [0, 1)
    double weight_decay = 0;  ///< added to the gradient, on matrices only
  };

  /// The arena must outlive the optimizer, which updates the elements `owned` of it (empty: all).
  /// Throws where an option is out of range.
  Sgd(const ParameterArena& arena, const Options& options, std::vector<ArenaRange> owned = {});
  Sgd(const ParameterArena&& arena, const Options& options, std::vector<ArenaRange> owned = {}) = delete;

  /// Updates the weights and their mirror as `state` says; with apply = 0 it changes nothing.
  void step(const StepState* state) const;

  const Options& options() const { return options_; }
  /// The elements that are updated.
  const std::vector<ArenaRange>& owned() const { return owned_; }
  /// What a checkpoint holds: buffers of the owned elements, in the arena's order.
  std::map<std::string, Tensor> state_buffers() const;

 private:
  void update(const ArenaRange& part, int64_t offset, double weight_decay, const StepState* state) const;

  const ParameterArena* arena_;
  Options options_;
  std::vector<ArenaRange> owned_;
  Tensor velocity_;  // undefined without momentum
};

}  // namespace tessera
