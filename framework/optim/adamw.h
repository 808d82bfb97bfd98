// AdamW over an arena: one launch for the matrices, which decay, and one for the vectors, which do not.
#pragma once

#include <map>
#include <string>

#include "framework/parameters/arena.h"
#include "kernels/common/step_state.h"

namespace tessera {

class AdamW {
 public:
  struct Options {
    double beta1 = 0.9;          ///< in [0, 1)
    double beta2 = 0.999;        ///< in [0, 1)
    double epsilon = 1e-8;       ///< above 0
    double weight_decay = 0.01;  ///< on matrices only
    uint64_t seed = 0;           ///< keys the stochastic rounding of an arena without master weights
  };

  /// The arena must outlive the optimizer, which updates the elements `owned` of it (empty: all).
  /// Throws where an option is out of range.
  AdamW(const ParameterArena& arena, const Options& options, std::vector<ArenaRange> owned = {});
  AdamW(const ParameterArena&& arena, const Options& options, std::vector<ArenaRange> owned = {}) = delete;

  /// Updates the weights and their mirror as `state` says; with apply = 0 it changes nothing.
  void step(const StepState* state) const;

  const Options& options() const { return options_; }
  /// The elements that are updated.
  const std::vector<ArenaRange>& owned() const { return owned_; }
  /// What a checkpoint holds: buffers of the owned elements, in the arena's order.
  std::map<std::string, Tensor> state_buffers() const { return {{"exp_avg", moment1_}, {"exp_avg_sq", moment2_}}; }

 private:
  void update(const ArenaRange& part, int64_t offset, double weight_decay, const StepState* state) const;

  const ParameterArena* arena_;
  Options options_;
  std::vector<ArenaRange> owned_;
  Tensor moment1_;
  Tensor moment2_;
};

}  // namespace tessera
