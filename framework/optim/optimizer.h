// An arena, an update rule and the decision of each step, as one object:
//
//     arena.begin_window();
//     backward(model.loss(…));
//     StepState done = optimizer.step();      // clips, skips a non-finite step, follows the schedule
#pragma once

#include <variant>

#include "framework/optim/adamw.h"
#include "framework/optim/sgd.h"
#include "framework/optim/step_control.h"

namespace tessera {

class Optimizer {
 public:
  /// The arena must outlive the optimizer, which scans and updates the elements `owned` of it (empty: all). The betas
  /// of the bias correction are the rule's.
  Optimizer(const ParameterArena& arena, const AdamW::Options& rule, StepPolicy policy = {},
            const StepState& initial = {}, std::vector<ArenaRange> owned = {});
  Optimizer(const ParameterArena& arena, const Sgd::Options& rule, StepPolicy policy = {},
            const StepState& initial = {}, std::vector<ArenaRange> owned = {});
  Optimizer(const ParameterArena&& arena, const AdamW::Options& rule, StepPolicy policy = {},
            const StepState& initial = {}, std::vector<ArenaRange> owned = {}) = delete;
  Optimizer(const ParameterArena&& arena, const Sgd::Options& rule, StepPolicy policy = {},
            const StepState& initial = {}, std::vector<ArenaRange> owned = {}) = delete;

  /// Ends the window, then scan, decide and update. Returns the state after the step; waits for the device.
  StepState step() const;

  /// Reads the owned gradients once: their norm, and whether they are finite.
  void scan() const;
  /// Takes the decision of the step from the scan.
  void decide() const { control_.advance(); }
  /// Changes weights and moments as decided; a skipped step changes nothing.
  void update() const;

  const ParameterArena& arena() const { return *arena_; }
  const StepControl& control() const { return control_; }
  /// The elements that are scanned and updated.
  const std::vector<ArenaRange>& owned() const;
  /// What a checkpoint holds besides the weights: buffers of the owned elements, in the arena's order.
  std::map<std::string, Tensor> state_buffers() const;

 private:
  const ParameterArena* arena_;
  std::variant<AdamW, Sgd> rule_;
  StepControl control_;
};

}  // namespace tessera
