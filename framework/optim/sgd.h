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
    double momentum = 0;
    double weight_decay = 0;  ///< added to the gradient, on matrices only
  };

  /// The arena must outlive the optimizer.
  Sgd(const ParameterArena& arena, const Options& options);

  /// Updates the weights and their mirror as `state` says; with apply = 0 it changes nothing.
  void step(const StepState* state) const;

  const Options& options() const { return options_; }
  /// What a checkpoint holds: buffers laid out like the arena's weights.
  std::map<std::string, Tensor> state_buffers() const;

 private:
  void update(int64_t begin, int64_t end, double weight_decay, const StepState* state) const;

  const ParameterArena* arena_;
  Options options_;
  Tensor velocity_;  // undefined without momentum
};

}  // namespace tessera
